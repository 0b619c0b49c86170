// One module: noVNC's client.
export { default as RFB } from "@novnc/novnc";
