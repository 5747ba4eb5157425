//! The test kit proves itself: what it starts is real, and nothing of it stays.

mod aggregation;
mod control_plane;
mod faulty_store;
mod minio;
mod nodes;
mod services;
mod supervision;
