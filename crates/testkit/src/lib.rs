//! What tests stand on: a real control plane, whole clusters with nodes, real S3 servers and TLS before them, a registry of
//! images, stores of secrets, a guest with real NFS shares, stores that fail on demand, conformance suites, the independent
//! reader of the formats, clients of the API server that are not ours.
//!
//! A dev-dependency only. Servers are processes of their own, never linked; whatever way a test ends, its
//! servers, their ports and their files go with it (`supervisor`).

mod aws_keys;
mod child;
mod control_plane;
mod eventually;
pub mod explorer;
mod faulty_store;
mod format_reader;
mod minio;
mod moto;
mod nfs_guest;
mod nodes;
mod notes;
mod openbao;
mod ports;
mod private_files;
mod programs;
mod registry;
mod s3_gate;
pub mod store_conformance;
mod stranger;
mod supervisor;
mod tls_front;
mod vault_accounts;
mod versitygw;

pub use aws_keys::AwsKeys;
pub use child::OwnedChild;
pub use control_plane::{
    ClientCertificate, ControlPlane, FRONT_PROXY, Planes, ReusedPlane, ServerCertificate,
};
pub use eventually::{eventually, leisurely, promptly};
pub use faulty_store::{Call, Calls, Failure, Fault, FaultyStore, Span};
pub use format_reader::{FormatReader, Told};
pub use minio::{BucketProtection, Minio, open_bucket};
pub use moto::Moto;
pub use nfs_guest::{Gate, NfsVersion, Share, in_nfs_guest};
pub use nodes::{BOX_IMAGE, Helm, NodeCluster, Nodes, RegistryTrust, STORAGE_CLASS, Traces, host_address};
pub use notes::{FIGURES, SKIPS, figure, skip};
pub use openbao::{KvVersion, OpenBao, Role};
pub use ports::{free_port, free_port_at, random_hex};
pub use private_files::{make_private_folder, write_private};
pub use programs::{Programs, testbed_program, testbed_service};
pub use registry::{Registry, RegistrySettings};
pub use s3_gate::{GateHabit, PROTECTION_RIGHTS, S3Gate};
pub use stranger::Stranger;
pub use supervisor::{Detached, Program, Supervisor, processes_in};
pub use tls_front::TlsFront;
pub use vault_accounts::{account_token, trust_plane};
pub use versitygw::Versitygw;
