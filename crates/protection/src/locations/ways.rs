//! Opens a place through whichever profile leads there: names of profiles come and go, what lies in a place stays.
//!
//! Guarantees: a profile is found without touching a location; one is opened after the other, and none after a store that
//! is out of reach, since the next profile leads to the same one.

use keelson_model::location::{LocationSpec, ProfileHealth};
use keelson_model::{Classified, ErrorClass};
use keelson_store::{NetworkFault, StoreError};

use super::{KnownProfile, Location, LocationError, Place, known_profile};
use crate::kinds;
use crate::platform::Platform;

/// A profile that leads to the place asked for.
struct Way {
    profile: String,
    health: ProfileHealth,
    /// Where it stands among those that were named.
    named: Option<usize>,
    spec: LocationSpec,
}

impl Way {
    /// What may be written through comes first, then what was named, each by its name.
    fn rank(&self) -> (u8, usize, String) {
        let health = match self.health {
            ProfileHealth::Writable => 0,
            ProfileHealth::ReadOnly => 1,
            ProfileHealth::NotValidated => 2,
            ProfileHealth::Failed => 3,
        };
        (health, self.named.unwrap_or(usize::MAX), self.profile.clone())
    }
}

impl Platform {
    /// Opens a place through one of the profiles that it is known by, or any other that leads there.
    pub(crate) async fn open_place(
        &self,
        place: &Place,
        named: &[String],
    ) -> Result<Location, LocationError> {
        let namespace = &self.settings.install_namespace;
        let listed = self.cluster.list_objects(&kinds::profile(), Some(namespace), None).await;
        let listed = listed.map_err(|source| LocationError::ListProfiles { source })?;
        let profiles = listed.iter().filter_map(|object| {
            let name = object["metadata"]["name"].as_str()?;
            Some((name.to_owned(), known_profile(name, object)))
        });
        let (ways, mut tried) = plan_ways(place, named, namespace, profiles.collect());
        for way in ways {
            let error = match self.open_spec(&way.profile, &way.spec).await {
                Ok(location) => return Ok(location),
                Err(error) => error,
            };
            let is_hopeless = !is_of_the_profile(&error);
            tried.push(error);
            if is_hopeless {
                break;
            }
        }
        Err(LocationError::OpenPlace { place: place.to_string(), tried })
    }
}

/// The profiles that lead to a place, in the order in which to try them, and why those that were named do not.
fn plan_ways(
    place: &Place,
    named: &[String],
    namespace: &str,
    profiles: Vec<(String, Result<KnownProfile, LocationError>)>,
) -> (Vec<Way>, Vec<LocationError>) {
    let is_absent = |name: &&String| profiles.iter().all(|(profile, _)| profile != *name);
    let absent = named.iter().filter(is_absent).map(|profile| LocationError::NoProfile {
        profile: profile.clone(),
        namespace: namespace.to_owned(),
    });
    let mut passed_over: Vec<_> = absent.collect();
    let mut ways = Vec::new();
    for (profile, known) in profiles {
        let position = named.iter().position(|name| *name == profile);
        match lead_to(place, &profile, known) {
            Ok((health, spec)) => ways.push(Way { profile, health, named: position, spec }),
            Err(error) if position.is_some() => passed_over.push(error),
            Err(_) => {}
        }
    }
    ways.sort_by_cached_key(Way::rank);
    (ways, passed_over)
}

fn lead_to(
    place: &Place,
    profile: &str,
    known: Result<KnownProfile, LocationError>,
) -> Result<(ProfileHealth, LocationSpec), LocationError> {
    let KnownProfile { health, spec, .. } = known?;
    let spec = spec.ok_or_else(|| LocationError::NoLocation { profile: profile.to_owned() })?;
    if Place::of(&spec) != *place {
        return Err(LocationError::LeadsElsewhere { profile: profile.to_owned() });
    }
    Ok((health, spec))
}

/// Whether another profile may be better off at the same store: it has credentials and a trust of its own.
fn is_of_the_profile(error: &LocationError) -> bool {
    match error {
        LocationError::Open { source: StoreError::Unreachable { fault: NetworkFault::Tls, .. }, .. } => true,
        other => !matches!(other.class(), ErrorClass::Unavailable { .. }),
    }
}

#[cfg(test)]
mod tests {
    use keelson_model::location::{FileStoreLocation, ProfileKind};

    use super::*;

    fn profile(
        name: &str,
        path: &str,
        health: ProfileHealth,
    ) -> (String, Result<KnownProfile, LocationError>) {
        let (claim, path) = ("share".to_owned(), path.to_owned());
        let spec = LocationSpec::FileStore(FileStoreLocation { claim, path, supplemental_group: None });
        let known = KnownProfile {
            name: name.to_owned(),
            kind: ProfileKind::FileStore,
            health,
            spec: Some(spec),
            faults: Vec::new(),
        };
        (name.to_owned(), Ok(known))
    }

    /// The ways to `here` where these were named, and what is said of the others.
    fn check(named: &[&str], ways: &[&str], said: &[&str]) {
        let place = Place::FileStore { claim: "share".to_owned(), path: "here".to_owned() };
        let malformed = LocationError::MalformedProfile { profile: "ill".to_owned(), faults: Vec::new() };
        let profiles = vec![
            profile("away", "there", ProfileHealth::Writable),
            profile("failed", "here", ProfileHealth::Failed),
            ("ill".to_owned(), Err(malformed)),
            profile("new", "here", ProfileHealth::NotValidated),
            profile("reader", "here", ProfileHealth::ReadOnly),
            profile("second", "here", ProfileHealth::Writable),
            profile("vault", "here", ProfileHealth::Writable),
        ];
        let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
        let (found, passed_over) = plan_ways(&place, &named, "kasten-io", profiles);
        assert_eq!(found.iter().map(|way| way.profile.as_str()).collect::<Vec<_>>(), ways, "{named:?}");
        let told: Vec<_> = passed_over.iter().map(ToString::to_string).collect();
        assert!(told.len() == said.len(), "{told:?}");
        assert!(told.iter().zip(said).all(|(told, said)| told.contains(said)), "{told:?}");
    }

    #[test]
    fn a_place_is_opened_through_any_profile_that_leads_there_and_those_that_work_first() {
        let all = ["second", "vault", "reader", "new", "failed"];
        check(&[], &all, &[]);
        check(&["vault"], &["vault", "second", "reader", "new", "failed"], &[]);
        check(&["vault", "second"], &["vault", "second", "reader", "new", "failed"], &[]);
        check(&["reader"], &all, &[]);
        check(&["failed", "new"], &all, &[]);
        check(&["gone", "away"], &all, &["no profile 'gone'", "'away' leads elsewhere now"]);
        check(&["ill"], &all, &["'ill' is not usable"]);
    }

    #[test]
    fn a_store_that_is_out_of_reach_is_not_tried_through_the_next_profile() {
        let unreachable = |fault| LocationError::Open {
            profile: "vault".to_owned(),
            source: StoreError::Unreachable {
                operation: keelson_store::Operation::Connect,
                location: "s3://vault".to_owned(),
                fault,
                source: "no answer".into(),
            },
        };
        assert!(!is_of_the_profile(&unreachable(NetworkFault::TimedOut)));
        assert!(is_of_the_profile(&unreachable(NetworkFault::Tls)));
        let profile = "vault".to_owned();
        assert!(is_of_the_profile(&LocationError::NoLocation { profile }));
    }
}
