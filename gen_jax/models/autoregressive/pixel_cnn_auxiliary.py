"""PixelCNN with auxiliary variables: log p(x) >= log p(v(x)) + log p(x | v(x)), where v(x) is a simpler view of x.

The view is a grey image of few levels, or the image at half its sides, which may have a view itself. Every part is an
autoregressive network. They share no weights and their losses add up, so all are trained together (Kolesnikov and
Lampert 2017, 1612.08185, section 3; `nn/conditioning.py` has their network that reads a view).

The bound is log p(x) itself if only v(x) gives x. It is so where the view is a part of the pixels and the last network
gives the others only.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_image, require_integers
from gen_jax.conditions import Cond, joined, label_of, parts_of
from gen_jax.density import LossPer, Value, bits_per_dim
from gen_jax.heads import Head
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.staged import Stage, Staged, stage_condition
from gen_jax.typing import Event, Metrics, PRNGKey, Scalar, Variables


class Views(Staged):
    """Images in views from the simplest to the image itself; `networks` has a model for each, in this order.

    The label goes to every network with classes.
    """

    loss_per: ClassVar[LossPer] = "dimension"

    event: Event
    networks: tuple[Autoregressive, ...]

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The classes of the networks that have any."""
        return max(network.num_classes for network in self.networks)

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts are called in records."""
        raise TypeError(f"{type(self).__name__} does not define its views")

    def views(self, x: Integer[Array, "B H W C"]) -> list[Integer[Array, "B _h _w _c"]]:
        """The views, the last of which is x."""
        raise TypeError(f"{type(self).__name__} does not define its views")

    def setup(self):
        self.check()

    def parts(self, x: Integer[Array, "B H W C"]) -> tuple[Integer[Array, "B ..."], ...]:
        return tuple(self.views(x))

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """Each view given the one before."""
        stages = []
        for k, network in enumerate(self.networks):
            below = {name: tree[f"networks_{k}"] for name, tree in variables.items()}
            needs = (k - 1,) if k else ()
            stages.append(Stage(self.names[k], network.clone(parent=None), below, needs))
        return tuple(stages)

    def log_prob_part(
        self, k: int, views: Sequence[Integer[Array, "B _h _w _c"]], label: Any, train: bool
    ) -> Float[Array, "B sites"]:
        """log p of the sites of a part, nats."""
        network, needs = self.networks[k], (k - 1,) if k else ()
        return network.log_prob_sites(
            views[k], stage_condition(network, needs, label, views), train
        )

    def loss(
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """The sum of the parts in nats per dimension of x. Metrics: each part in nats, the sum in bits/dim."""
        del key  # dropout has its own stream
        views, metrics = self.views(x), {}
        for k, name in enumerate(self.names):
            sites = self.log_prob_part(k, views, label_of(cond), train=True)
            metrics[name] = -jnp.mean(jnp.sum(sites, axis=-1))
        nats = sum(metrics.values(), jnp.zeros(()))
        return nats / self.event.size, {**metrics, "bits_per_dim": bits_per_dim(nats, self.event)}

    def check_networks(self, events: Sequence[Event]) -> None:
        """InputError unless each network is a model of its view and is given the view before, and no more."""
        system, networks = type(self).__name__, self.networks
        require_image(self.event, system)
        require_integers(self.event, system)
        require(
            len(networks) == len(events),
            f"{system} has {len(events)} views and needs a network for each, not {len(networks)}",
        )
        for k, (network, event) in enumerate(zip(networks, events, strict=True)):
            require(
                network.event == event,
                f"model.networks[{k}] is a model of {network.event}, its view is {event}",
            )
            given = tuple(events[k - 1 : k]) if k else ()
            require(
                network.conditions == given,
                f"model.networks[{k}] is given {network.conditions}, it should be given {given}",
            )
            require(
                network.num_classes in (0, self.num_classes),
                f"the networks have {network.num_classes} and {self.num_classes} classes: these should be equal",
            )


class PixelCNNGray(Views):
    """Two parts: a grey image of `levels` levels, and x given it.

    The grey level is that of the mean over the channels, by integer arithmetic. Images without colour are reduced to
    fewer levels. x given its view may also have mass on images of another view, so log_prob is a bound.
    """

    system: ClassVar[str] = "pixel_cnn_gray"

    levels: int = 16

    @property
    def names(self) -> tuple[str, ...]:
        """The grey image, and the image given it."""
        return "grey", "image"

    def views(self, x: Integer[Array, "B H W C"]) -> list[Integer[Array, "B _h _w _c"]]:
        return [grey(x, self.event.num_levels, self.levels), x]

    def check(self) -> None:
        require_image(self.event, self.system)
        event = self.event
        require(
            2 <= self.levels <= event.num_levels,
            f"{self.system} needs from 2 to {event.num_levels} levels of grey, not {self.levels}",
        )
        self.check_networks([Event((*event.shape[:2], 1), self.levels), event])


class PixelCNNPyramid(Views):
    """As many parts as `networks`: the image at the smallest sides, then at twice the sides of the part before.

    `view`: each coarser pixel is the `average` of a square of pixels, rounded, as in the paper, and log_prob is a
    bound; or the `subsample` that keeps its first pixel. Then the same networks give the other pixels only, and
    log_prob is exact.
    """

    system: ClassVar[str] = "pixel_cnn_pyramid"

    view: Literal["average", "subsample"] = "average"

    @property
    def value(self) -> Value:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Exact if the views are parts of the pixels."""
        return "exact" if self.view == "subsample" else "bound"

    @property
    def sizes(self) -> list[Event]:
        """The image at the sides of each part."""
        height, width, channels = self.event.shape
        sides = [2**k for k in reversed(range(len(self.networks)))]
        return [Event((height // s, width // s, channels), self.event.levels) for s in sides]

    @property
    def names(self) -> tuple[str, ...]:
        """The sides of each part."""
        return tuple(f"{size.shape[0]}x{size.shape[1]}" for size in self.sizes)

    def views(self, x: Integer[Array, "B H W C"]) -> list[Integer[Array, "B _h _w _c"]]:
        reduced = average if self.view == "average" else subsample
        return [*(reduced(x, x.shape[1] // size.shape[0]) for size in self.sizes[:-1]), x]

    def parts(self, x: Integer[Array, "B H W C"]) -> tuple[Integer[Array, "B ..."], ...]:
        views = self.views(x)
        if self.view == "average":
            return tuple(views)
        return (views[0], *map(other_pixels, views[1:]))

    def whole(self, parts: Sequence[Integer[Array, "B ..."]]) -> Integer[Array, "B H W C"]:
        return parts[-1] if self.view == "average" else put_together(parts)

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """Each part given the one before, or if views are parts of the pixels, given all pixels so far."""
        first, *others = super().stages(variables)
        if self.view == "average":
            return (first, *others)
        stages, given = [first], [first.model.event]
        for k, (name, network, tree, _) in enumerate(others, start=1):
            model = OtherPixels(rest_event(network.event), network, tuple(given), parent=None)
            below = {collection: {"network": leaves} for collection, leaves in tree.items()}
            stages.append(Stage(name, model, below, tuple(range(k))))
            given.append(model.event)
        return tuple(stages)

    def log_prob_part(
        self, k: int, views: Sequence[Integer[Array, "B _h _w _c"]], label: Any, train: bool
    ) -> Float[Array, "B sites"]:
        sites = super().log_prob_part(k, views, label, train)
        if k and self.view == "subsample":
            return sites[:, ~kept_sites(self.networks[k])]
        return sites

    def check(self) -> None:
        require_image(self.event, self.system)
        factor = 2 ** (len(self.networks) - 1)
        require(
            len(self.networks) >= 2 and not any(side % factor for side in self.event.shape[:2]),
            f"{self.system} of {len(self.networks)} networks needs two or more, and sides that {factor} divides, not"
            f" {self.event.shape}",
        )
        self.check_networks(self.sizes)


class OtherCache(NamedTuple):
    """The cache of the network, and the values of the sites that it is given."""

    cache: Any
    kept: Int[Array, "B kept V"]


class OtherPixels(Autoregressive):
    """p of the pixels of an image beside the first of each square of two by two, given these and by one network.

    `network` is a model of the image given the image of the first pixels, of which `earlier` are the parts (see
    `put_together`). Sites are those of the network without the given ones, which a step passes on its way.
    """

    network: Autoregressive
    earlier: tuple[Event, ...]

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parts of the image of the first pixels."""
        return self.earlier

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The network's."""
        return self.network.num_classes

    @property
    def head(self) -> Head:
        return self.network.head

    @property
    def visited(self) -> Int[np.ndarray, " sites"]:
        """The network's site of each site."""
        return np.flatnonzero(~kept_sites(self.network))

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        place = np.cumsum(~kept_values(self.network.event)) - 1
        return place[self.network.sites[self.visited]]

    def given(self, cond: Cond) -> tuple[Integer[Array, "B h w C"], Any]:
        """The image of the first pixels, and the network's condition."""
        label, values = parts_of(self, cond)
        first = put_together(values)
        return first, joined(label, [first])

    def __call__(
        self, x: Integer[Array, "B N C"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        first, below = self.given(cond)
        return self.network(put_together([first, x]), below, train)[:, self.visited]

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return self.network.context(int(self.visited[site]))[self.visited]

    def init_cache(self, n: int, cond: Cond = None) -> OtherCache:
        first, below = self.given(cond)
        blank = jnp.zeros((n, *self.event.shape), first.dtype)
        values = self.network.site_values(put_together([first, blank]))
        kept = values[:, kept_sites(self.network)].astype(jnp.int32)
        return OtherCache(self.network.init_cache(n, below), kept)

    def step(
        self, cache: OtherCache, site: Int[Array, ""]
    ) -> tuple[OtherCache, Float[Array, "B P"]]:
        network, variables = self.network.unbind()
        visited, index = jnp.asarray(self.visited), np.cumsum(kept_sites(self.network)) - 1
        before = jnp.where(site > 0, visited[site - 1], -1)

        def passed(place: Int[Array, ""], inner: Any) -> Any:
            inner, _ = network.apply(variables, inner, place, method="step")
            value = lax.dynamic_index_in_dim(cache.kept, jnp.asarray(index)[place], 1, False)
            return network.apply(variables, inner, place, value, method="write")

        inner = lax.fori_loop(before + 1, visited[site], passed, cache.cache)
        both: Any = network.apply(variables, inner, visited[site], method="step")
        inner, params = both
        return cache._replace(cache=inner), params

    def write(
        self, cache: OtherCache, site: Int[Array, ""], value: Int[Array, "B V"]
    ) -> OtherCache:
        place = jnp.asarray(self.visited)[site]
        return cache._replace(cache=self.network.write(cache.cache, place, value))


def grey(x: Integer[Array, "B H W C"], levels: int, greys: int) -> Int[Array, "B H W 1"]:
    """floor(greys sum_c x_c / (C (levels - 1) + 1)): the mean over the channels in equal intervals."""
    total = jnp.sum(x.astype(jnp.int32), axis=-1, keepdims=True)
    return total * greys // (x.shape[-1] * (levels - 1) + 1)


def average(x: Integer[Array, "B H W C"], side: int) -> Int[Array, "B h w C"]:
    """The mean of each square, rounded half up."""
    batch, height, width, channels = x.shape
    squares = x.astype(jnp.int32).reshape(
        batch, height // side, side, width // side, side, channels
    )
    return (jnp.sum(squares, axis=(2, 4)) + side**2 // 2) // side**2


def subsample(x: Integer[Array, "B H W C"], side: int) -> Integer[Array, "B h w C"]:
    """The first pixel of each square."""
    return x[:, ::side, ::side]


def kept_values(event: Event) -> Bool[np.ndarray, " D"]:
    """Whether each value of an image belongs to the first pixel of a square of two by two."""
    kept = np.zeros(event.shape, bool)
    kept[::2, ::2] = True
    return kept.ravel()


def kept_sites(network: Autoregressive) -> Bool[np.ndarray, " sites"]:
    """Whether the values of each site of a network belong to such a pixel."""
    return kept_values(network.event)[network.sites[:, 0]]


def rest_event(event: Event) -> Event:
    """The other pixels of an image, in raster order."""
    height, width, channels = event.shape
    return Event((height * width * 3 // 4, channels), event.levels)


def other_pixels(x: Integer[Array, "B H W C"]) -> Integer[Array, "B N C"]:
    """The pixels beside the first of each square of two by two, in raster order."""
    event = Event(x.shape[1:], 2)
    flat = x.reshape(len(x), -1)[:, ~kept_values(event)]
    return flat.reshape(len(x), -1, x.shape[-1])


def put_together(parts: Sequence[Integer[Array, "B ..."]]) -> Integer[Array, "B H W C"]:
    """The image of the smallest sides, and each time the other pixels of the image of twice its sides."""
    image, *others = parts
    for rest in others:
        batch, height, width, channels = image.shape
        event = Event((2 * height, 2 * width, channels), 2)
        kept = kept_values(event)
        flat = jnp.zeros((batch, event.size), jnp.int32)
        flat = flat.at[:, kept].set(image.reshape(batch, -1).astype(jnp.int32))
        flat = flat.at[:, ~kept].set(rest.reshape(batch, -1).astype(jnp.int32))
        image = flat.reshape(batch, *event.shape)
    return image
