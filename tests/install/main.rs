//! What people install: the overlays of `deploy/overlays` and the chart of `deploy/chart`, rendered by the real tools, taken by
//! a real API server, and started by the real program. And what people read: the documents say what is so.
mod agree;
mod alerts;
mod cluster;
mod documents;
mod gitops;
mod render;
mod started;
mod values;
