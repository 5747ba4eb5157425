//! Our kinds: the custom resources and the aggregated ones, their schemas, columns, checks and conversions.
//!
//! Knows how a user writes our objects and how Kubernetes shows them. Knows no storage, talks to no server and
//! decides no use case: plain values of `keelson-model` come out of it.

mod age;
mod cel;
mod check;
mod fingerprint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kind;
mod parts;
mod quantity;
mod schema;

pub mod actions;
pub mod apps;
pub mod condition;
pub mod configuration;
pub mod crd;
pub mod k10restore;
pub mod passkey;
pub mod policy;
pub mod profile;
pub mod recovery;
pub mod report;
pub mod roles;
pub mod storage_repository;

pub use age::human_age;
pub use check::{
    FieldError, FieldFault, FieldPath, LABELS_MAX, check_served, ignored_fields, prune_fields,
    unknown_fields, validate_change, validate_create,
};
pub use fingerprint::spec_hash;
pub use kind::{Cell, Column, KINDS, KindInfo, Reference, ResourceScope, Verb, find_kind, kind_of_row};
pub use parts::{
    BlueprintHook, FilterEntry, Filters, Hooks, LocalReference, ObjectReference, ReceiveString, Requester,
    Subject, Time,
};
