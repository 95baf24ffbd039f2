// The search of mkdocs-material runs in a Worker, which browsers refuse to pages opened as files. Here it runs in a
// hidden frame of the same interface instead. The file's name tells the theme not to fetch such a script from a network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      const inner = frame.contentWindow;
      const waiting = [];
      const deliver = (data) => inner.dispatchEvent(new inner.MessageEvent("message", { data }));
      this.postMessage = (data) => waiting.push(data);
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.importScripts = async (...addresses) => {
        for (const one of addresses) await load(one);
      };
      const load = (source) =>
        new Promise((done, failed) => {
          const script = inner.document.createElement("script");
          script.onload = done;
          script.onerror = failed;
          script.src = source;
          inner.document.documentElement.append(script);
        });
      load(address).then(() => {
        this.postMessage = deliver;
        waiting.forEach(deliver);
      });
    }
  };
}
