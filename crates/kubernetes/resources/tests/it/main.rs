//! Our custom resource definitions on a real API server.

mod custom_resources;
