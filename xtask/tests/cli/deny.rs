//! `test --only deny`: crates that deny.toml does not allow, and the output without cargo-deny.

use super::lab::Lab;

const DENY: [&str; 3] = ["test", "--only", "deny"];

const RULES: &str = include_str!("../../../deny.toml");

/// A lab that depends on one more crate than this repository, with the given source and licence.
fn lab(name: &str, source: &str, licence: &str) -> Lab {
    let lab = Lab::new();
    lab.write("deny.toml", RULES);
    let package = |name: &str, version: &str, source: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"{source}\"\n")
    };

    let own = "[[package]]\nname = \"xtask\"\nversion = \"0.1.0\"\n";
    lab.write(
        "Cargo.lock",
        &format!("{own}{}{}", package("serde", "1.0.0", REGISTRY), package(name, "2.0.0", source)),
    );
    lab.install("cargo");
    lab.says(
        "cargo",
        "'tree '*",
        &format!("Apache-2.0\txtask v0.1.0\nMIT OR Apache-2.0\tserde v1.0.0\n{licence}\t{name} v2.0.0"),
    );
    lab.fails("cargo", "'deny '*", 101, "error: no such command: `deny`");
    lab
}

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn each_kind_of_crate_that_is_not_allowed_is_named() {
    for (name, source, licence, said) in [
        ("evil", REGISTRY, "AGPL-3.0", "evil v2.0.0: licence `AGPL-3.0`"),
        ("evil", REGISTRY, "MIT AND AGPL-3.0", "licence `MIT AND AGPL-3.0`"),
        ("evil", REGISTRY, "", "evil v2.0.0: licence ``"),
        ("evil", "git+https://example.org/evil#1", "MIT", "evil v2.0.0: from git+https://example.org/evil#1"),
        (
            "evil",
            "registry+https://example.org/index",
            "MIT",
            "evil v2.0.0: from registry+https://example.org",
        ),
        ("serde", REGISTRY, "MIT", "serde: versions 1.0.0 and 2.0.0"),
    ] {
        let ran = lab(name, source, licence).run(&DENY).expect(1);
        ran.says(&[said, "deny.toml does not allow 1 of the crates", "cargo tree --invert"]);
    }
    for licence in
        ["MIT/AGPL-3.0", "(AGPL-3.0 OR ISC) AND Unicode-3.0", "Apache-2.0 WITH LLVM-exception OR MIT"]
    {
        lab("good", REGISTRY, licence).run(&DENY).expect(0);
    }
}

#[test]
fn a_version_that_may_be_there_beside_another_is_named_in_the_rules() {
    let lab = lab("serde", REGISTRY, "MIT");
    let skip =
        "multiple-versions = \"deny\"\nskip = [{ crate = \"serde@1.0.0\", reason = \"until clap has 2\" }]";
    lab.write("deny.toml", &RULES.replace("multiple-versions = \"deny\"", skip));
    lab.run(&DENY).expect(0);
}

#[test]
fn what_cannot_be_checked_is_said() {
    let lab = lab("good", REGISTRY, "MIT");
    lab.run(&DENY)
        .expect(0)
        .says(&["known advisories are not checked: cargo-deny is not installed", "cargo install"]);
    lab.on("cargo", "'deny '*", "");
    lab.fails("cargo", "'deny fetch db'", 1, "Could not resolve host: github.com");
    lab.run(&DENY).expect(0).says(&["known advisories are not checked", "is unreachable"]);
    assert!(lab.calls_of("cargo deny --locked check").is_empty());
    lab.on("cargo", "'deny fetch db'", "");
    let ran = lab.run(&DENY).expect(0);
    assert!(!ran.stderr.contains("not checked"), "{}", ran.stderr);
    lab.fails("cargo", "'deny --locked check '*", 1, "error[vulnerability]: a hole");
    lab.run(&DENY).expect(1).says(&["a hole"]);
}
