//! What an operator types: the commands of the disaster recovery page as it prints them, on whole clusters with nodes, with
//! the image, the charts and the values files as they are handed out.
//!
//! A scenario begins with nothing and leaves nothing. They take turns, since a cluster takes most of a small machine; and
//! since each platform takes a minute, what does not disturb each other is tried on one. Without root they are skipped and
//! say why.

mod authorities;
mod choices;
mod installation;
mod mishaps;
mod operator;
mod passphrases;
mod registries;
mod rehearsals;
mod scene;
mod shares;
mod shop;
mod stories;
mod typed;
mod verdict;
