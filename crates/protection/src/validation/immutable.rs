//! Whether what leads to immutable backups lasts as long as they do: the catalog that disaster recovery ships names them,
//! and without it they are only found by looking through every repository.

use keelson_model::GoDuration;
use keelson_model::schedule::Frequency;
use keelson_resources::policy;

use crate::kinds;
use crate::locations::{KnownProfile, known_profile};
use crate::platform::Platform;

/// A policy that exports to a profile with a protection period.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Immutable {
    policy: String,
    frequency: Frequency,
}

/// How the platform's own backup is weaker than the backups of applications, in sentences. What cannot be read now is
/// told by the next look.
pub(super) async fn find_weaknesses(platform: &Platform, dr_profile: &str, every: Frequency) -> Vec<String> {
    let namespace = &platform.settings.install_namespace;
    let (profile, policy) = (kinds::profile(), kinds::policy());
    let profiles = platform.cluster.list_objects(&profile, Some(namespace), None).await;
    let policies = platform.cluster.list_objects(&policy, None, None).await;
    let (profiles, policies) = match (profiles, policies) {
        (Ok(profiles), Ok(policies)) => (profiles, policies),
        (Err(error), _) | (_, Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "whether all backups are weaker than the platform's own is not known");
            return Vec::new();
        }
    };
    let known = profiles.iter().filter_map(|object| {
        known_profile(object["metadata"]["name"].as_str().unwrap_or_default(), object).ok()
    });
    let periods: Vec<_> = known.filter_map(period_of).collect();
    let policies = policies.iter().filter_map(|object| policy::parse(object).ok());
    let immutable: Vec<_> = policies.filter_map(|policy| immutable_of(&policy, &periods)).collect();
    decide_weaknesses(dr_profile, every, &periods, &immutable)
}

fn period_of(profile: KnownProfile) -> Option<(String, GoDuration)> {
    Some((profile.name, profile.spec?.protection_period()?))
}

fn immutable_of(policy: &policy::ParsedPolicy, periods: &[(String, GoDuration)]) -> Option<Immutable> {
    let is_locked = |export: &&policy::ParsedExport| periods.iter().any(|(name, _)| *name == export.profile);
    let exports = policy.exports.iter().filter(is_locked);
    let frequency = exports.map(|export| export.frequency.unwrap_or(policy.frequency)).min()?;
    let runs = !policy.paused && policy.disaster_recovery.is_none();
    runs.then(|| Immutable { policy: policy.name.clone(), frequency })
}

/// Pure.
fn decide_weaknesses(
    dr_profile: &str,
    every: Frequency,
    periods: &[(String, GoDuration)],
    immutable: &[Immutable],
) -> Vec<String> {
    let own = periods.iter().find(|(name, _)| name == dr_profile).map(|(_, period)| *period);
    let longest = periods.iter().max_by_key(|(_, period)| *period);
    let shorter = longest.filter(|(_, period)| own.is_none_or(|own| own < *period)).map(|(name, period)| {
        let own = own.map_or_else(|| "none".to_owned(), |own| own.to_string());
        format!(
            "profile '{name}' protects for {period} and '{dr_profile}', which holds the catalog that leads there, for \
             {own}: give it at least as long a protectionPeriod"
        )
    });
    let most =
        immutable.iter().filter(|it| it.frequency != Frequency::OnDemand).min_by_key(|it| it.frequency);
    let rarer = most.filter(|it| it.frequency < every).map(|Immutable { policy, frequency }| {
        format!(
            "policy '{policy}' makes immutable exports {frequency} and this one runs {every}: run it as often"
        )
    });
    shorter.into_iter().chain(rarer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_own_backup_must_last_as_long_and_be_made_as_often_as_any_immutable_one() {
        let check = |periods: &[(&str, &str)], every, immutable: &[(&str, Frequency)], expected: &[&str]| {
            let period = |(name, period): &(&str, &str)| ((*name).to_owned(), period.parse().unwrap());
            let periods: Vec<_> = periods.iter().map(period).collect();
            let policy = |(name, frequency): &(&str, _)| Immutable {
                policy: (*name).to_owned(),
                frequency: *frequency,
            };
            let immutable: Vec<_> = immutable.iter().map(policy).collect();
            let told = decide_weaknesses("vault", every, &periods, &immutable);
            assert_eq!(told.len(), expected.len(), "{told:?}");
            assert!(told.iter().zip(expected).all(|(told, part)| told.contains(part)), "{told:?}");
        };
        let (hourly, daily, weekly) = (Frequency::Hourly, Frequency::Daily, Frequency::Weekly);
        check(&[], weekly, &[], &[]);
        check(&[("vault", "720h")], daily, &[("a", daily)], &[]);
        check(&[("vault", "720h"), ("apps", "720h"), ("less", "24h")], hourly, &[("a", daily)], &[]);
        check(
            &[("vault", "168h"), ("apps", "720h")],
            daily,
            &[],
            &["'apps' protects for 720h0m0s and 'vault'"],
        );
        check(&[("apps", "24h")], daily, &[], &["for none"]);
        let often = [("rare", weekly), ("often", hourly), ("by-hand", Frequency::OnDemand)];
        check(&[("vault", "24h")], daily, &often, &["'often' makes immutable exports @hourly"]);
        check(&[("vault", "24h")], Frequency::OnDemand, &[("rare", weekly)], &["runs @onDemand"]);
        check(&[("apps", "24h")], weekly, &[("a", daily)], &["protectionPeriod", "policy 'a'"]);
    }

    #[test]
    fn a_policy_is_immutable_by_the_most_frequent_of_its_locked_exports_unless_it_is_paused() {
        let locked = [("apps".to_owned(), "24h".parse().unwrap())];
        let check = |paused: bool, exports: &[(&str, Option<Frequency>)], expected: Option<Frequency>| {
            let policy = policy::ParsedPolicy {
                namespace: "kasten-io".to_owned(),
                name: "a".to_owned(),
                frequency: Frequency::Hourly,
                schedule: None,
                paused,
                retention: Default::default(),
                selector: None,
                backup_profile: None,
                exports: exports
                    .iter()
                    .map(|(profile, frequency)| policy::ParsedExport {
                        profile: (*profile).to_owned(),
                        frequency: *frequency,
                        retention: None,
                    })
                    .collect(),
                import: None,
                report: None,
                disaster_recovery: None,
                ignored: Vec::new(),
            };
            let frequency = immutable_of(&policy, &locked).map(|it| it.frequency);
            assert_eq!(frequency, expected, "{exports:?}");
        };
        check(false, &[], None);
        check(false, &[("plain", None)], None);
        check(false, &[("apps", None)], Some(Frequency::Hourly));
        check(true, &[("apps", None)], None);
        check(false, &[("apps", Some(Frequency::Daily)), ("plain", None)], Some(Frequency::Daily));
    }
}
