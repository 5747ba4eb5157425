//! Kills: whatever the folder of rolls looks like after any effect on it, what is opened from it answers rightly.

use std::fs;
use std::sync::Mutex;

use super::super::folder::OnEffect;
use super::*;

#[test]
fn a_kill_after_any_effect_leaves_an_index_that_answers_rightly() {
    let (folder, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let local = open(folder.path(), ON_DISK);
    *local.workplace().folder.on_effect.lock().unwrap() = Some(OnEffect(Box::new({
        let (from, to, taken) = (folder.path().to_owned(), images.path().to_owned(), Arc::clone(&taken));
        move || {
            let mut taken = taken.lock().unwrap();
            let image = to.join(taken.len().to_string());
            fs::create_dir(&image).unwrap();
            for file in rolls(&from) {
                fs::copy(&file, image.join(file.file_name().unwrap())).unwrap();
            }
            taken.push(image);
        }
    })));

    let mut objects = Objects::new();
    for object in 0..9 {
        objects.insert(object, BTreeSet::from([object, object + 1, object + 30]));
        catch_up(&local, &objects).unwrap();
        if object % 4 == 3 {
            objects.remove(&(object - 2));
            catch_up(&local, &objects).unwrap();
        }
    }
    let images = taken.lock().unwrap().clone();
    assert!(images.len() > 40, "{} effects", images.len());
    for image in images {
        let files = rolls(&image);
        let local = open(&image, ON_DISK);
        check_in_the_end(&local, &objects);
        // One layer is in memory; what a kill left of earlier ones is gone.
        assert_eq!(rolls(&image).len(), local.current().layers.len() - 1);
        drop(local);
        // Without any one of its files: a removal that came before its time, or was lost with the folder.
        for file in files.iter().filter(|file| file.exists()) {
            fs::remove_file(file).unwrap();
            check_in_the_end(&open(&image, ON_DISK), &objects);
        }
        assert!(rolls(&image).iter().all(|file| file.extension() == Some("roll".as_ref())));
    }
}
