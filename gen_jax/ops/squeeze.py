"""Space to channels and back (Dinh et al. 2016, 1605.08803, section 3.6)."""

from jaxtyping import Array, Float


def squeeze(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 4*C"]:
    """Each 2x2 block of a channel becomes four neighbouring channels, row by row; ValueError on odd sides."""
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"sides {height}x{width} are not even")
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)


def unsqueeze(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C//4"]:
    """The inverse of `squeeze`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // 4, 2, 2)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


def column_pairs(x: Float[Array, "B H W C"]) -> Float[Array, "B H W//2 2*C"]:
    """Each pair of columns becomes one column with all channels of the left one, then those of the right one."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height, width // 2, 2 * channels)


def columns(x: Float[Array, "B H W C"]) -> Float[Array, "B H 2*W C//2"]:
    """The inverse of `column_pairs`."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height, 2 * width, channels // 2)


def pixel_blocks(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 4*C"]:
    """Each 2x2 block of pixels becomes one with all channels of its first pixel, then the second's, row by row."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2 * channels)
    return x.swapaxes(2, 3).reshape(batch, height // 2, width // 2, 4 * channels)


def pixels(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C//4"]:
    """The inverse of `pixel_blocks`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, channels // 2)
    return x.swapaxes(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4)
