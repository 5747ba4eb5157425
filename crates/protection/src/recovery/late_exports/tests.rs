//! What cannot be read for now is looked for again; what is damaged is not waited for.

use keelson_catalog::DataDir;
use keelson_crypto::CatalogKey;
use keelson_model::{Classified, ErrorClass, ManualClock};

use super::*;
use crate::recovery::exports::tests::{Left, cluster, now};

async fn look(left: &Left, catalog: &Database) -> Result<u64, RecoveryError> {
    let (application, root, _) = &left.roots[0];
    let Some(export) = open(&left.vault, &left.location, &cluster(), application, root).await? else {
        return Ok(0);
    };
    let unknown = export.outcomes.clone();
    take_in((catalog, now()), &left.location, &export, unknown, None, now()).await
}

#[tokio::test]
async fn an_export_that_is_out_of_reach_for_now_fails_the_look_and_a_damaged_one_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDir::open(directory.path(), Arc::new(ManualClock::new(now()))).unwrap();
    let catalog = data.create_first(&CatalogKey::generate(), b"wrapped").unwrap();
    let left = Left::by(&["shop"]).await;
    for folder in [left.roots[0].1.clone(), left.outcome(0, 0)] {
        left.break_beneath(&folder);
        let error = look(&left, &catalog).await.unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Unavailable { .. }), "{}", Chain(&error));
        left.faulty.heal();
    }
    left.memory.tamper(&left.outcome(0, 0), b"garbage".as_slice().into());
    assert_eq!(look(&left, &catalog).await.unwrap(), 1);
    left.memory.tamper(&left.roots[0].1.join("format").unwrap(), b"garbage".as_slice().into());
    assert_eq!(look(&left, &catalog).await.unwrap(), 0);
}
