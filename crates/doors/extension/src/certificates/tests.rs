//! When what is renewed, and when not, by a clock that is moved and set.

use super::*;

fn at(day: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + day * 24 * 3600).unwrap()
}

fn start() -> ServingCertificates {
    ServingCertificates::generate(&[], at(0)).unwrap()
}

/// What a look on that day finds to be done.
fn look(certificates: &ServingCertificates, day: i64) -> Vec<Renewed> {
    certificates.keep_current(at(day)).unwrap()
}

/// Everybody was told, on that day, of whom to trust.
fn tell(certificates: &ServingCertificates, day: i64) {
    certificates.note_told(&certificates.authorities_pem(), at(day));
}

fn authorities(certificates: &ServingCertificates) -> usize {
    certificates.authorities_pem().matches("BEGIN CERTIFICATE").count()
}

/// Days by a clock that stood still, as that of a machine that sleeps, did not count.
#[test]
fn a_certificate_is_renewed_after_twenty_days_of_the_wall_clock() {
    let certificates = start();
    let authority = certificates.authorities_pem();
    let mut last = certificates.config();
    for (day, is_due) in [(0, false), (19, false), (20, true), (20, false), (39, false), (40, true)] {
        let expected = vec![Renewed::Serving; usize::from(is_due)];
        assert_eq!(look(&certificates, day), expected, "day {day}");
        let config = certificates.config();
        assert_eq!(!Arc::ptr_eq(&last, &config), is_due, "day {day}");
        last = config;
    }
    assert_eq!(certificates.authorities_pem(), authority);
}

#[test]
fn an_authority_is_told_of_for_a_day_before_it_signs_in_the_place_of_another() {
    let certificates = start();
    let old = certificates.authorities_pem();
    assert_eq!(look(&certificates, 239), [Renewed::Serving]);
    assert_eq!(look(&certificates, 240), [Renewed::Successor]);
    let both = certificates.authorities_pem();
    assert!(look(&certificates, 240).is_empty());
    tell(&certificates, 240);
    assert!(look(&certificates, 240).is_empty());
    // To be told of it again is no news.
    tell(&certificates, 241);
    assert_eq!(look(&certificates, 241), [Renewed::Authority]);
    assert_eq!(format!("{old}{}", certificates.authorities_pem()), both);
    // Its age counts from when it was made.
    assert_eq!(look(&certificates, 240 + 239), [Renewed::Serving]);
    assert_eq!(look(&certificates, 240 + 240), [Renewed::Successor]);
}

/// It signed a day after it was made, though the API server was away and nobody knew it.
#[test]
fn an_authority_of_which_nobody_was_told_does_not_sign() {
    let certificates = start();
    let old = certificates.authorities_pem();
    assert_eq!(look(&certificates, 240), [Renewed::Serving, Renewed::Successor]);
    assert!(look(&certificates, 250).is_empty());
    // What was told is not all that clients must trust by now.
    certificates.note_told(&old, at(250));
    assert!(look(&certificates, 252).is_empty());
    tell(&certificates, 252);
    assert!(look(&certificates, 252).is_empty());
    assert_eq!(look(&certificates, 253), [Renewed::Authority]);
}

#[test]
fn who_tells_of_authorities_hears_of_each_change_of_them() {
    let certificates = start();
    let mut changes = certificates.subscribe();
    let mut hears = |day, expected: &[Renewed], is_news: bool| {
        assert_eq!(look(&certificates, day), expected, "day {day}");
        assert_eq!(changes.has_changed().unwrap(), is_news, "day {day}");
        changes.mark_unchanged();
        tell(&certificates, day);
        assert!(!changes.has_changed().unwrap(), "it has said so itself");
    };
    hears(20, &[Renewed::Serving], false);
    hears(240, &[Renewed::Serving, Renewed::Successor], true);
    hears(241, &[Renewed::Authority], true);
    hears(4_000, &[Renewed::Everything], true);
}

/// A third authority was made, which nobody trusted yet.
#[test]
fn a_machine_that_slept_through_a_handover_signs_with_what_everybody_was_told_of() {
    let certificates = start();
    assert_eq!(look(&certificates, 240), [Renewed::Serving, Renewed::Successor]);
    tell(&certificates, 240);
    let both = certificates.authorities_pem();
    assert_eq!(look(&certificates, 366), [Renewed::Everything]);
    let now = certificates.authorities_pem();
    assert!(both != now && both.ends_with(&now), "{now}");
}

/// Its certificates were of the future for everybody else, until it was started again.
#[test]
fn a_clock_that_is_set_right_leaves_no_certificate_of_another_time() {
    for (day, is_lost) in [(-400, true), (-2, true), (-1, false), (1, false), (364, true), (4_000, true)] {
        let certificates = start();
        let before = certificates.authorities_pem();
        let expected = vec![Renewed::Everything; usize::from(is_lost)];
        assert_eq!(look(&certificates, day), expected, "day {day}");
        assert_eq!(certificates.authorities_pem() != before, is_lost, "day {day}");
        assert_eq!(authorities(&certificates), 1, "day {day}");
    }
    // In the middle of a handover.
    let certificates = start();
    assert_eq!(look(&certificates, 240), [Renewed::Serving, Renewed::Successor]);
    assert_eq!(authorities(&certificates), 2);
    assert_eq!(look(&certificates, -20), [Renewed::Everything]);
    assert_eq!(authorities(&certificates), 1);
    assert!(look(&certificates, -20).is_empty());
}

/// The second authority was taken for one that had waited, and was of the future for everybody when it signed.
#[test]
fn a_clock_that_is_set_back_during_a_handover_lets_no_authority_of_the_future_sign() {
    for (is_told_before, is_told_after) in [(true, false), (false, true), (true, true)] {
        let certificates = start();
        assert_eq!(look(&certificates, 240), [Renewed::Serving, Renewed::Successor]);
        let both = certificates.authorities_pem();
        if is_told_before {
            tell(&certificates, 240);
        }
        assert_eq!(look(&certificates, 230), [Renewed::Serving], "the old one is valid, and signs");
        if is_told_after {
            tell(&certificates, 230);
        }
        for day in [231, 240] {
            assert!(look(&certificates, day).is_empty(), "day {day}");
        }
        assert_eq!(certificates.authorities_pem(), both);
        assert_eq!(look(&certificates, 241), [Renewed::Authority]);
    }
    // It signs already, and is not valid by the clock of now.
    let certificates = start();
    assert_eq!(look(&certificates, 240), [Renewed::Serving, Renewed::Successor]);
    tell(&certificates, 240);
    assert_eq!(look(&certificates, 241), [Renewed::Authority]);
    assert_eq!(look(&certificates, 230), [Renewed::Everything]);
}

/// It was waited for until the old one had expired, and a third one signed of which nobody had been told.
#[test]
fn an_authority_of_the_future_gives_way_to_another_when_the_old_one_is_due() {
    let certificates = start();
    let old = certificates.authorities_pem();
    assert_eq!(look(&certificates, 363), [Renewed::Serving, Renewed::Successor]);
    tell(&certificates, 363);
    let of_the_future = certificates.authorities_pem();
    assert_eq!(look(&certificates, 100), [Renewed::Serving], "the old one is valid, and signs");
    assert_eq!(look(&certificates, 239), [Renewed::Serving]);
    assert_eq!(certificates.authorities_pem(), of_the_future);
    assert_eq!(look(&certificates, 240), [Renewed::Successor]);
    let both = certificates.authorities_pem();
    assert!(both.starts_with(&old) && both != of_the_future);
    assert!(look(&certificates, 250).is_empty(), "nobody was told of it");
    tell(&certificates, 250);
    assert_eq!(look(&certificates, 251), [Renewed::Authority]);
    assert_eq!(format!("{old}{}", certificates.authorities_pem()), both);
}
