//! How much those who take all they get leave to others.

use axum::body::Body;
use serde_json::json;

use super::*;
use crate::body::{Format, receive};
use crate::limits::{BODIES, BODY_BYTES_MAX, DECODED_BYTES_MAX, DECODED_STEP_BYTES, WRITE_BYTES};
use crate::tests::harness::user;

fn take_all(shares: &Arc<Shares>, name: &str) -> Vec<Share> {
    std::iter::from_fn(|| shares.take(&user(name))).collect()
}

#[test]
fn nobody_takes_more_than_a_share_and_the_control_plane_always_gets_some() {
    let shares = Shares::new(Portions { all: 10, kept: 3, each: 2 });
    let alice = take_all(&shares, "alice");
    let bob = take_all(&shares, "bob");
    assert_eq!((alice.len(), bob.len()), (2, 2));
    let rest: Vec<_> = ["carol", "dan", "erin", "frank"].map(|name| take_all(&shares, name)).into();
    assert_eq!(rest.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 0]);
    let controllers = take_all(&shares, "system:kube-controller-manager");
    assert_eq!(controllers.len(), 3);
    drop(alice);
    assert_eq!(take_all(&shares, "system:serviceaccount:kube-system:resourcequota-controller").len(), 2);
}

/// Three who took their shares and read nothing left nobody else any list.
#[test]
fn few_who_take_all_they_get_leave_something_to_others() {
    let shares = Shares::new(Portions { all: 64, kept: 16, each: 16 });
    let greedy: Vec<_> = (0..8).map(|number| take_all(&shares, &format!("greedy-{number}"))).collect();
    assert_eq!(greedy.iter().map(Vec::len).collect::<Vec<_>>(), [16, 11, 7, 5, 3, 2, 2, 1]);
    assert!(shares.take(&user("honest")).is_some());
}

#[test]
fn the_accounts_of_a_namespace_are_one() {
    let shares = Shares::new(Portions { all: 20, kept: 2, each: 3 });
    let one = take_all(&shares, "system:serviceaccount:shop:one");
    assert_eq!(one.len(), 3);
    assert!(shares.take(&user("system:serviceaccount:shop:two")).is_none());
    assert_eq!(take_all(&shares, "system:serviceaccount:other:one").len(), 3);
}

#[test]
fn what_is_given_back_leaves_nothing_behind() {
    let shares = Shares::new(Portions { all: 10, kept: 2, each: 3 });
    let mut grown = shares.take(&user("carol")).unwrap();
    assert!(grown.grow(1) && !grown.grow(5));
    assert_eq!(shares.lock().all, 2, "what was refused is not counted");
    drop((take_all(&shares, "alice"), take_all(&shares, "bob"), grown));
    let taken = shares.lock();
    assert_eq!((taken.all, taken.of.len()), (0, 0));
}

fn take_bodies(shares: &Arc<Shares>, name: &str, bytes: usize) -> Vec<Share> {
    std::iter::from_fn(|| shares.take_many(&user(name), bytes)).collect()
}

/// Nothing bounded them: any number of the largest bodies was read at once.
#[test]
fn many_large_bodies_leave_room_for_small_ones_of_others_and_for_the_control_plane() {
    let shares = Shares::new(BODIES);
    let all: Vec<_> =
        (0..16).map(|number| take_bodies(&shares, &format!("greedy-{number}"), BODY_BYTES_MAX)).collect();
    let counts: Vec<_> = all.iter().map(Vec::len).collect();
    assert!(counts[..4].iter().all(|count| *count > 0), "one alone does not take all of it: {counts:?}");
    let held = counts.iter().sum::<usize>() * BODY_BYTES_MAX;
    assert!(held <= BODIES.all - BODIES.kept, "{counts:?}");
    let honest: Vec<_> = (0..8).filter_map(|_| shares.take_many(&user("honest"), SMALL)).collect();
    assert_eq!(honest.len(), 8, "{counts:?}");
    let controller = shares.take_many(&user("system:kube-controller-manager"), BODY_BYTES_MAX);
    assert!(controller.is_some());
}

/// What an object of two KiB takes, decoded.
const SMALL: usize = 64 << 10;

#[tokio::test]
async fn a_body_of_two_kib_takes_what_is_small_here() {
    let resource = |number: usize| {
        let name = format!("storefront-{number}");
        json!({"group": "apps", "version": "v1", "resource": "deployments", "name": name})
    };
    let text = json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1", "kind": "BackupAction",
        "metadata": {
            "name": "before-the-upgrade", "namespace": "shop", "labels": {"team": "storefront"},
            "annotations": {"note": "x".repeat(340)},
        },
        "spec": {
            "subject": {"name": "shop", "namespace": "shop"},
            "filters": {"includeResources": (0..18).map(resource).collect::<Vec<_>>()},
        },
    })
    .to_string();
    assert!((2_000..2_100).contains(&text.len()), "{} bytes", text.len());
    let received = receive(&Shares::new(BODIES), &user("alice"), Body::from(text)).await.unwrap();
    let taken = received.decode(Format::Json).await.unwrap().share.amount;
    assert!((SMALL / 2..=SMALL).contains(&taken), "{taken} bytes");
}

#[test]
fn two_hundred_writers_of_small_bodies_are_all_let_in() {
    let one = Shares::new(BODIES);
    assert!(take_bodies(&one, "bench", SMALL).len() >= 200, "of one name");
    let many = Shares::new(BODIES);
    let writers: Vec<_> =
        (0..200).filter_map(|number| many.take_many(&user(&format!("writer-{number}")), SMALL)).collect();
    assert_eq!(writers.len(), 200, "of a name each");
}

#[test]
fn a_body_that_grows_is_bounded_by_the_same_rules_and_the_largest_fits_where_nobody_else_is() {
    let shares = Shares::new(BODIES);
    let mut largest = shares.take_many(&user("alice"), BODY_BYTES_MAX + WRITE_BYTES).unwrap();
    assert!((0..DECODED_BYTES_MAX / DECODED_STEP_BYTES).all(|_| largest.grow(DECODED_STEP_BYTES)));
    assert!(!largest.grow(BODIES.each), "nobody grows beyond his share");
    let mut other = shares.take(&user("bob")).unwrap();
    let steps = (0..).take_while(|_| other.grow(DECODED_STEP_BYTES)).count();
    let left = BODIES.all - BODIES.kept - largest.amount;
    assert!(steps * DECODED_STEP_BYTES <= left / 2, "nor beyond half of what is left");
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_is_given_back_and_gives_up_in_the_end() {
    let shares = Shares::new(Portions { all: 2, kept: 1, each: 1 });
    let first = shares.take(&user("alice")).unwrap();
    let (alice, patience) = (user("alice"), Duration::from_secs(10));
    let (waited, ()) = tokio::join!(shares.take_within(&alice, patience), async {
        tokio::task::yield_now().await;
        drop(first);
    });
    assert!(waited.is_some());
    assert!(shares.take_within(&alice, patience).await.is_none());
}
