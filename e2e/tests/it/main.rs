//! Stories of bad input, told with the program as it ships on real control planes.

mod attack;
mod batches;
mod cancel;
mod command_line;
mod damage;
mod departures;
mod discovery;
mod drill_reports;
mod fips;
mod guard;
mod kills;
mod kit;
mod metrics;
mod neighbour;
mod protection;
mod rebuild;
mod recovery_refusals;
mod refusals;
mod repositories;
mod restores;
mod rude;
mod secrets;
mod stage;
mod validation;
mod whole_story;
mod world;
