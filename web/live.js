// The page of Live Preview, inside the node. It is served by the pack (nodes/host/live_pages.py) below /udh/live/.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "UDH_LivePreview";
const HEIGHT = 580;    // px, at least; the page scrolls where it needs more
const STYLE = "width: 100%; border: 0; border-radius: 8px; background: #17181b";

function addPage(node) {
  const box = document.createElement("div");
  box.style.cssText = "display: flex; flex-direction: column; gap: 4px; height: 100%";
  const link = document.createElement("a");
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = "Open in a window of its own";
  link.style.cssText = "display: none; font-size: 12px; color: inherit";
  link.onclick = () => frame.removeAttribute("src");    // there it talks, not here
  const frame = document.createElement("iframe");
  frame.title = "Live Preview";
  frame.allow = "microphone; autoplay";
  frame.style.cssText = `${STYLE}; flex: 1; display: none`;
  box.append(link, frame);
  node.addDOMWidget("live", "udh_live", box, {
    serialize: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => HEIGHT,
  });
  node.showLivePage = path => {
    link.href = api.fileURL(path);
    if (frame.getAttribute("src") !== link.href) frame.src = link.href;    // who talks there is not interrupted
    for (const part of [link, frame]) part.style.display = "block";
  };
  node.setSize([Math.max(node.size[0], 420), Math.max(node.size[1], HEIGHT + 160)]);
}

app.registerExtension({
  name: "ultralight-digital-human.live",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    const { onNodeCreated, onExecuted } = nodeType.prototype;
    nodeType.prototype.onNodeCreated = function () {
      onNodeCreated?.apply(this, arguments);
      addPage(this);
    };
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      if (output?.udh_live?.length) this.showLivePage(output.udh_live[0]);
    };
  },
});
