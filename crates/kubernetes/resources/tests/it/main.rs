//! Our custom resource definitions on a real API server.

mod configuration;
mod custom_resources;
mod server;
