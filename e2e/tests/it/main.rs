//! Stories of bad input, told with the program as it ships on real control planes.

mod damage;
mod kills;
mod rebuild;
mod recovery_refusals;
mod refusals;
mod stage;
mod whole_story;
mod world;
