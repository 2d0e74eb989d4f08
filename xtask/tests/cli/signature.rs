//! Signed bundles, with the real ssh-keygen: valid signers, and bundles that are refused before a robot is
//! changed.

use std::fs;
use std::io::Read as _;

use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};

use super::bundle::{LOAD, WRITE, lab, path};
use super::lab::{Lab, Ran};
use super::registry::Registry;
use super::shell;

/// A lab with an unsigned bundle and the real `ssh-keygen`.
fn unsigned() -> (Lab, Registry) {
    let (lab, registry) = lab();
    lab.remove("ssh-keygen");
    std::os::unix::fs::symlink(which::which("ssh-keygen").unwrap(), lab.dir.join("bin/ssh-keygen")).unwrap();
    (lab, registry)
}

/// Creates a key and returns the public key.
fn key(lab: &Lab, name: &str) -> String {
    let file = lab.dir.join(name);
    let made = shell::run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", file.as_str()], "");
    assert!(made.0, "{}", made.1);
    fs::read_to_string(file.with_extension("pub")).unwrap()
}

/// A lab whose user has a key in `robots.signers` and has signed the bundle.
fn signed() -> (Lab, Registry) {
    let (lab, registry) = unsigned();
    let key = key(&lab, "home/.ssh/id_ed25519");
    lab.write("robots.signers", &format!("# The team\nanna {key}"));
    lab.run(&WRITE).expect(0).says(&["signed by anna"]);
    (lab, registry)
}

#[track_caller]
fn assert_refused(lab: &Lab, says: &[&str]) {
    let before = lab.calls_of("ssh ").len();
    lab.run(&LOAD).expect(1).says(says);
    assert_eq!(lab.calls_of("ssh ").len(), before, "no robot is touched");
}

fn members(lab: &Lab) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(path(lab)).unwrap());
    let read = |entry: Result<tar::Entry<'_, fs::File>, _>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

/// Writes a bundle of these members; `with_sums` also computes new checksums.
fn pack(lab: &Lab, members: &[(String, Vec<u8>)], with_sums: bool) {
    let mut archive = tar::Builder::new(fs::File::create(path(lab)).unwrap());
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    let mut sums = String::new();
    for (name, bytes) in members {
        match name.as_str() {
            "SHA256SUMS" if with_sums => append(name, sums.as_bytes()),
            _ => append(name, bytes),
        }
        sums += &format!("{:x}  {name}\n", Sha256::digest(bytes));
    }
    archive.finish().unwrap();
}

#[test]
fn one_that_a_team_member_has_signed_is_loaded() {
    let (lab, registry) = signed();
    lab.run(&LOAD).expect(0).says(&["signed by anna"]).shows(&["main   camera"]);
    assert_eq!(zstd::decode_all(lab.bytes("loaded.tar.zst").as_slice()).unwrap(), registry.saved());
    lab.run(&["load-bundle", "team.bundle", "--dry-run"]).expect(0).shows(&["signed by anna"]);
    assert!(lab.temporary_files().is_empty(), "{:?}", lab.temporary_files());
}

#[test]
fn one_that_nobody_has_signed_is_refused_where_there_are_signers() {
    let (lab, _registry) = unsigned();
    lab.write("robots.signers", &format!("anna {}", key(&lab, "home/.ssh/id_ed25519")));
    assert_refused(&lab, &["`team.bundle` is not signed", "cargo xtask deploy --via archive --to FILE"]);
    // Signatures are required as soon as the file exists, whatever its content.
    lab.write("robots.signers", "");
    assert_refused(&lab, &["is not signed"]);
    fs::remove_file(lab.root.join("robots.signers")).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.root.join("robots.signers")).unwrap();
    assert_refused(&lab, &["is not signed"]);
    fs::remove_file(lab.root.join("robots.signers")).unwrap();
    lab.run(&LOAD).expect(0);
}

#[test]
fn one_that_a_stranger_has_signed_is_refused() {
    let (lab, _registry) = signed();
    lab.write("robots.signers", &format!("bob {}", key(&lab, "bob")));
    assert_refused(&lab, &["is not signed by a key in", "robots.signers", "add their key"]);
}

#[test]
fn a_signature_of_something_else_is_no_signature_of_a_bundle() {
    let (lab, _registry) = signed();
    // The signature of a git commit with the same key.
    let sums = members(&lab).into_iter().find(|(name, _)| name == "SHA256SUMS").unwrap().1;
    let key = lab.home.join(".ssh/id_ed25519");
    let args = ["-q", "-Y", "sign", "-n", "git", "-f", key.as_str()];
    let (success, signature) = shell::run("ssh-keygen", &args, &String::from_utf8(sums).unwrap());
    assert!(success, "{signature}");
    let replaced = members(&lab).into_iter().map(|(name, bytes)| match name.as_str() {
        "SHA256SUMS.sig" => (name, signature.clone().into_bytes()),
        _ => (name, bytes),
    });
    pack(&lab, &replaced.collect::<Vec<_>>(), false);
    assert_refused(&lab, &["the signature of `team.bundle` does not match"]);
}

#[test]
fn a_change_of_anything_that_is_used_is_refused() {
    let (lab, _registry) = signed();
    let whole = members(&lab);
    let names: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["images-1.tar.zst", "robots/main.tar", "bundle.json", "SHA256SUMS", "SHA256SUMS.sig"]);
    for name in &names[..3] {
        let mut changed = whole.clone();
        let bytes = &mut changed.iter_mut().find(|(member, _)| member == name).unwrap().1;
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        // Checksums do not help against an attacker who can compute them.
        pack(&lab, &changed, true);
        assert_refused(&lab, &["the signature of `team.bundle` does not match", "do not load it"]);
        pack(&lab, &changed, false);
        assert_refused(&lab, &["is damaged"]);
    }
    // A second member of the same name, and an additional member.
    for (name, bytes) in [("robots/main.tar", "evil"), ("more", "evil")] {
        let mut changed = whole.clone();
        changed.push((name.to_owned(), bytes.as_bytes().to_vec()));
        pack(&lab, &changed, false);
        assert_refused(&lab, &["is damaged"]);
    }
    // A truncated bundle is reported as such.
    pack(&lab, &whole, false);
    let bytes = fs::read(path(&lab)).unwrap();
    fs::write(path(&lab), &bytes[..bytes.len() / 2]).unwrap();
    assert_refused(&lab, &["is damaged", "truncated"]);
    fs::write(path(&lab), bytes).unwrap();
    lab.run(&LOAD).expect(0);
    // Without `robots.signers`, anyone who writes the file decides what robots run.
    let mut changed = whole;
    *changed[1].1.last_mut().unwrap() ^= 1;
    pack(&lab, &changed, true);
    fs::remove_file(lab.root.join("robots.signers")).unwrap();
    lab.run(&LOAD).expect(0);
}

#[test]
fn what_the_file_becomes_after_it_was_checked_reaches_no_robot() {
    let (lab, registry) = signed();
    let (file, whole) = (path(&lab), fs::read(path(&lab)).unwrap());
    let arrived = || {
        let mut text = Vec::new();
        let release = lab.bytes("release.tar.gz");
        flate2::read::GzDecoder::new(release.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(zstd::decode_all(lab.bytes("loaded.tar.zst").as_slice()).unwrap(), registry.saved());
        String::from_utf8_lossy(&text).contains("evil")
    };
    // The stick changes its content while xtask connects to the robot, and is then removed.
    let says = format!("sed 's/swordfish/evil_fish/' '{file}' >\"$lab/evil\"; cat \"$lab/evil\" >'{file}'");
    for spoil in [says.clone(), format!("{says}; rm '{file}'")] {
        fs::write(&file, &whole).unwrap();
        lab.on("ssh", "*ControlMaster=yes*", &format!("{spoil}\n{}", super::answers::MASTER));
        lab.run(&LOAD).expect(0);
        assert!(!arrived());
        assert!(
            fs::read(lab.dir.join("evil")).unwrap().len() == whole.len(),
            "it is as long as the real one"
        );
    }
    // Without signatures nothing is guaranteed: the changed content arrives.
    fs::remove_file(lab.root.join("robots.signers")).unwrap();
    fs::write(&file, &whole).unwrap();
    lab.on("ssh", "*ControlMaster=yes*", &format!("{says}\n{}", super::answers::MASTER));
    lab.run(&LOAD).expect(0);
    assert!(arrived());
}

#[test]
fn who_may_not_sign_is_told_before_anything_is_built() {
    let (lab, _registry) = unsigned();
    lab.write("robots.signers", &format!("bob {}", key(&lab, "bob")));
    let before = lab.calls_of("docker buildx bake").len();
    lab.run(&WRITE).expect(1).says(&["none of your SSH keys may sign bundles", "id_ed25519.pub", "ssh-add"]);
    assert_eq!(lab.calls_of("docker buildx bake").len(), before);
}

#[test]
fn a_key_that_only_the_agent_has_signs() {
    let (lab, _registry) = unsigned();
    let public = key(&lab, "anna");
    lab.write("robots.signers", &format!("anna {public}"));
    for program in ["ssh-add", "ssh-agent"] {
        let real = which::which(program).unwrap();
        std::os::unix::fs::symlink(real, lab.dir.join("bin").join(program)).unwrap();
    }
    // The agent lives as long as the command that it starts.
    let script = "ssh-add -q \"$1\" && rm \"$1\" && shift && exec \"$@\"";
    let private: Utf8PathBuf = lab.dir.join("anna");
    let program = env!("CARGO_BIN_EXE_xtask");
    let words = [&["sh", "-c", script, "sh", private.as_str(), program][..], &WRITE].concat();
    let plain = lab.command(&[]);
    let mut agent = shell::command("ssh-agent");
    agent.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::from(agent.args(words).current_dir(&lab.root).output().unwrap());
    ran.expect(0).says(&["signed by anna"]);
    lab.run(&LOAD).expect(0).says(&["signed by anna"]);
}
