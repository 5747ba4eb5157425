//! The router called without a socket, over a real platform and a real catalog. Only the API server is a fake: it
//! answers what we ask it about namespaces, secrets and access.

mod access;
mod connections;
mod creates;
mod deletes;
mod details;
mod documents;
pub(crate) mod harness;
mod patches;
mod reads;
mod rotation;
mod shutdown;
mod trail;
mod watches;
