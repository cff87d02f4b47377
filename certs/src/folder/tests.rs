#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::{Host, Names};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn profile(names: &[&str], sealed: bool) -> Profile {
    Profile { sealed, ..Profile::new(Names::new(names.iter().map(|name| Host::parse(name).unwrap()))) }
}

/// All files below a folder with their bytes.
fn tree(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(tree(&path)) } else { found.push((path.clone(), fs::read(&path).unwrap())) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    make_folder(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        // `fs::copy` takes the mode along.
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

#[test]
fn an_activation_that_is_cut_off_anywhere_is_finished_by_the_next_load() {
    let now = SystemTime::now();
    let base = tempfile::tempdir().unwrap();
    let first = Folder::new(base.path().join("first"));
    let old = first.create(&profile(&["a.example"], false), now).unwrap();
    let new = first.stage(&profile(&["b.example"], true), now).unwrap();
    assert_ne!(&new, old.root());
    assert_eq!(first.load(now).unwrap().root(), old.root(), "one that waits is not in force");
    // A marker that was not made durable: still the old one.
    for steps in 0..=STEPS.len() {
        let folder = Folder::new(base.path().join(format!("cut-{steps}")));
        copy(first.path(), folder.path());
        write_private(&folder.path().join(NEXT).join(MARKER), b"").unwrap();
        for step in &STEPS[..steps] {
            folder.step(*step).unwrap();
        }
        let loaded = folder.load(now).unwrap();
        assert_eq!(loaded.root(), &new, "cut after {steps}");
        assert_eq!(loaded.names().list(), [Host::parse("b.example").unwrap()]);
        assert!(!folder.path().join(NEXT).exists() && !folder.path().join(NEW).exists());
        assert!(!folder.path().join(ROOT_KEY).exists(), "the old root's key is gone, the new one was never there");
        assert_eq!(folder.retired().unwrap(), [old.root().clone()], "cut after {steps}");
        assert_eq!(folder.staged().unwrap(), None);
    }

    // From sealed to kept: the new root's key stays, wherever it is cut off.
    let sealed = Folder::new(base.path().join("sealed"));
    copy(first.path(), sealed.path());
    let sealed_root = sealed.activate(now).unwrap().root().clone();
    let kept = sealed.stage(&profile(&["c.example"], false), now).unwrap();
    for steps in 0..=STEPS.len() {
        let folder = Folder::new(base.path().join(format!("kept-{steps}")));
        copy(sealed.path(), folder.path());
        write_private(&folder.path().join(NEXT).join(MARKER), b"").unwrap();
        for step in &STEPS[..steps] {
            folder.step(*step).unwrap();
        }
        assert_eq!(folder.load(now).unwrap().root(), &kept);
        assert!(folder.path().join(ROOT_KEY).exists(), "cut after {steps}");
        assert_eq!(folder.retired().unwrap().len(), 2);
        folder.forget_retired(&sealed_root).unwrap();
        assert_eq!(folder.retired().unwrap(), [old.root().clone()]);
    }
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let now = SystemTime::now();
    let base = tempfile::tempdir().unwrap();
    let good = Folder::new(base.path().join("good"));
    assert!(matches!(good.load(now), Err(Error::Missing { .. })));
    let authority = good.create(&profile(&["a.example"], true), now).unwrap();
    let before = tree(good.path());
    assert!(matches!(good.create(&profile(&["b.example"], true), now), Err(Error::AlreadyThere { .. })));
    assert!(matches!(good.renew_issuing(now), Err(Error::Sealed)));
    assert!(matches!(good.activate(now), Err(Error::NothingStaged { .. })));
    assert_eq!(tree(good.path()), before, "refusals change nothing");
    let (other_issuing, other_key) = {
        // Another pair under another root, of the same names.
        let made = Made::new(&profile(&["a.example"], true), now).unwrap();
        (made.issuing.clone(), made.issuing_key.to_string())
    };

    let damage = |name: &str, change: &dyn Fn(&Path)| -> Error {
        let folder = Folder::new(base.path().join(name));
        copy(good.path(), folder.path());
        change(folder.path());
        folder.load(now).unwrap_err()
    };
    let overwrite = |file: &'static str, text: &str| {
        let text = text.to_owned();
        move |path: &Path| fs::write(path.join(file), &text).unwrap()
    };
    for file in [ROOT, ISSUING, ISSUING_KEY] {
        let error = damage(&format!("without-{file}"), &|path| fs::remove_file(path.join(file)).unwrap());
        assert!(matches!(&error, Error::Incomplete { path } if path.ends_with(file)), "{error}");
        for (n, text) in
            ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"].iter().enumerate()
        {
            let error = damage(&format!("damaged-{file}-{n}"), &overwrite(file, text));
            assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(file)), "{file}: {error}");
        }
        let cut = fs::read_to_string(good.path().join(file)).unwrap();
        let error = damage(&format!("cut-{file}"), &overwrite(file, &cut[..cut.len() / 2]));
        assert!(matches!(&error, Error::Damaged { path, .. } if path.ends_with(file)), "{file}: {error}");
        let error = damage(&format!("huge-{file}"), &overwrite(file, &"x".repeat(70_000)));
        assert!(matches!(&error, Error::Damaged { what, .. } if what == "too large"), "{file}: {error}");
    }
    let error = damage("foreign-key", &overwrite(ISSUING_KEY, &other_key));
    assert!(matches!(&error, Error::KeyMismatch { .. }), "{error}");
    let error = damage("foreign-pair", &|path| {
        fs::write(path.join(ISSUING), &other_issuing).unwrap();
        fs::write(path.join(ISSUING_KEY), &other_key).unwrap();
    });
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("not signed by the root")), "{error}");
    // The issuing authority in the place of the root: an authority, but not its own issuer.
    let issuing = fs::read_to_string(good.path().join(ISSUING)).unwrap();
    damage("issuing-as-root", &overwrite(ROOT, &other_issuing));
    let leaf = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let error = damage("leaf-as-issuing", &overwrite(ISSUING, &leaf.cert.pem()));
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("authority")), "{error}");
    assert!(issuing.starts_with("-----BEGIN CERTIFICATE-----\n") && !issuing.contains('\r'));

    // An authority without constraints, as predecessors made it.
    let error = damage("unconstrained", &|path| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(path.join(ROOT), params.self_signed(&key).unwrap().pem()).unwrap();
    });
    assert!(matches!(&error, Error::Unconstrained { path } if path.ends_with(ROOT)), "{error}");

    // Time.
    let end = authority.not_after();
    assert!(end <= now + DAY * 1_825 && end > now + DAY * 1_824);
    assert!(good.load(end - DAY).is_ok());
    assert!(!authority.ends_soon(now) && authority.ends_soon(end - DAY * 29));
    assert!(matches!(good.load(end), Err(Error::Expired { .. })));
    assert!(good.load(now - DAY / 2).is_ok());
    assert!(matches!(good.load(now - DAY * 2), Err(Error::NotYetValid { .. })));
}

#[cfg(unix)]
#[test]
fn keys_are_their_owners_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let now = SystemTime::now();
    let base = tempfile::tempdir().unwrap();
    let folder = Folder::new(base.path().join("mitm"));
    folder.create(&profile(&["a.example"], false), now).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let set = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(mode(folder.path()), 0o700);
    for name in [ISSUING_KEY, ROOT_KEY] {
        let path = folder.path().join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        for open in [0o640, 0o604, 0o660, 0o610] {
            set(&path, open);
            let error = folder.load(now).unwrap_err();
            assert!(matches!(&error, Error::Permissions { path: at, mode } if *at == path && *mode == open), "{error}");
        }
        folder.fix_permissions().unwrap();
        assert_eq!(mode(&path), 0o600);
    }
    set(folder.path(), 0o777);
    assert!(matches!(folder.load(now), Err(Error::Permissions { mode: 0o777, .. })));
    folder.fix_permissions().unwrap();
    folder.load(now).unwrap();
    // Readable certificates are no fault: they are for everybody.
    set(&folder.root_path(), 0o644);
    folder.load(now).unwrap();
    let user = fs::metadata(folder.path()).unwrap().uid();
    let error = folder.clone().owned_by(user + 1).load(now).unwrap_err();
    assert!(
        matches!(&error, Error::Owner { owner, expected, .. } if *owner == user && *expected == user + 1),
        "{error}"
    );

    // A kept root signs again, and nobody has to trust anything anew.
    let before = folder.load(now).unwrap();
    let renewed = folder.renew_issuing(now).unwrap();
    assert_eq!(renewed.root(), before.root());
    assert_ne!(renewed.issuing(), before.issuing());
    assert_eq!(renewed.names(), before.names());
    assert_eq!(folder.retired().unwrap(), []);
    assert_eq!(mode(&folder.path().join(ROOT_KEY)), 0o600);
    // With a key that is not the root's nothing is signed, and what is in force stays.
    fs::copy(folder.path().join(ISSUING_KEY), folder.path().join(ROOT_KEY)).unwrap();
    assert!(matches!(folder.renew_issuing(now), Err(Error::KeyMismatch { path }) if path.ends_with(ROOT_KEY)));
    assert_eq!(folder.load(now).unwrap().issuing(), renewed.issuing());
    // A waiting pair that was damaged is not put in force either.
    folder.stage(&profile(&["b.example"], true), now).unwrap();
    fs::copy(folder.path().join(ISSUING_KEY), folder.path().join(NEXT).join(ISSUING_KEY)).unwrap();
    assert!(matches!(folder.activate(now), Err(Error::KeyMismatch { .. })));
    assert_eq!(folder.load(now).unwrap().issuing(), renewed.issuing());
}

#[test]
fn two_programs_do_not_change_it_at_once() {
    let now = SystemTime::now();
    let base = tempfile::tempdir().unwrap();
    let folder = Folder::new(base.path().join("mitm"));
    let held = folder.lock().unwrap();
    assert!(matches!(folder.create(&profile(&["a.example"], true), now), Err(Error::Busy { .. })));
    assert!(matches!(folder.discard_staged(), Err(Error::Busy { .. })));
    drop(held);
    // What an earlier one left half-written is worth nothing, and goes.
    make_folder(&folder.path().join(NEW)).unwrap();
    fs::write(folder.path().join(NEW).join(ISSUING_KEY), "half a key").unwrap();
    folder.create(&profile(&["a.example"], true), now).unwrap();
    assert!(!folder.path().join(NEW).exists());
    let waiting = folder.stage(&profile(&["b.example"], true), now).unwrap();
    assert_eq!(folder.staged().unwrap(), Some(waiting));
    folder.discard_staged().unwrap();
    assert_eq!(folder.staged().unwrap(), None);
    for (profile, what) in [
        (profile(&[], true), "names"),
        (Profile { days: 0, ..profile(&["a.example"], true) }, "days"),
        (Profile { days: 3_651, ..profile(&["a.example"], true) }, "days"),
    ] {
        assert!(matches!(folder.stage(&profile, now), Err(Error::Profile(why)) if why.contains(what)));
    }
}
