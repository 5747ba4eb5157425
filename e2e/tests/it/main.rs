//! Stories of bad input, told with the program as it ships on real control planes.

mod damage;
mod kills;
mod recovery_refusals;
mod stage;
mod world;
