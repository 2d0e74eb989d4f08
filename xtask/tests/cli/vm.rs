//! Engines in a virtual machine, such as Docker Desktop, simulated by the answers of `docker info`.

use super::answers;
use super::lab::{Lab, in_order};
use super::registry::Registry;

/// A laptop with Docker Desktop, whose builder does not exist yet.
fn laptop() -> Lab {
    let lab = Lab::new();
    lab.says("docker", "'info '*", &answers::info("Docker Desktop", "desktop-linux"));
    lab.on("docker", "'buildx inspect xtask'", "[ -e \"$lab/builder\" ]");
    lab.on("docker", "'buildx create '*", ": >\"$lab/builder\"");
    lab.on("docker", "'save '*", "tar -cf - -C \"$lab\" layout");
    std::fs::create_dir(lab.dir.join("layout")).unwrap();
    std::fs::write(lab.dir.join("layout/index.json"), "{}").unwrap();
    lab
}

#[test]
fn our_own_builder_is_made_once_and_pushes_to_the_host() {
    let lab = laptop();
    let _registry = Registry::start(&lab);
    let ran = lab.run(&["deploy"]).expect(0);
    assert!(!ran.stderr.contains("new layers"), "it does not say which layers it sent: {}", ran.stderr);
    let here: Vec<String> = lab.calls().into_iter().filter(|call| !call.starts_with("ssh ")).collect();
    in_order(
        &here.join("\n"),
        &[
            "docker save xtask-base:trixie-",
            "docker buildx inspect xtask\n",
            "docker buildx create --name xtask --driver docker-container --driver-opt 'network=host' --config ",
            "work space/target/xtask/buildkitd.toml'\n",
            "docker buildx bake '--builder=xtask' '--provenance=false' '--sbom=false' --file ",
            "docker buildx bake '--builder=xtask' '--provenance=false' '--sbom=false' --file ",
            "--set 'camera.tags=host.docker.internal:50",
            "/eurobot:camera' --set 'camera.output=type=image,push=true' camera\n",
            "--set 'navigation.tags=host.docker.internal:50",
        ],
    );
    assert!(lab.calls_of("docker push").is_empty() && lab.calls_of("docker tag").is_empty());
    // Besides the build's definition there is one for each image that is pushed.
    let files = lab.files().into_iter().filter(|(path, _)| path.as_str().contains("/bake-"));
    let definitions = files.map(|(_, text)| serde_json::from_slice::<serde_json::Value>(&text).unwrap());
    let definition = definitions
        .into_iter()
        .find(|definition| {
            ["camera", "navigation"].iter().all(|image| definition["target"][image].is_object())
        })
        .unwrap();
    let camera = &definition["target"]["camera"];
    let base = camera["contexts"]["base"].as_str().unwrap();
    assert!(
        base.starts_with(&format!("oci-layout://{}/target/xtask/bases/xtask-base-trixie-", lab.root)),
        "{base}"
    );
    assert_eq!(camera["output"][0], "type=docker,name=eurobot:camera");
    let config = std::fs::read_to_string(lab.root.join("target/xtask/buildkitd.toml")).unwrap();
    in_order(&config, &["[registry.\"host.docker.internal:5000\"]\nhttp = true\n"]);

    let before = lab.calls().len();
    lab.run(&["build-images"]).expect(0);
    let calls = &lab.calls()[before..];
    assert!(!calls.iter().any(|call| call.contains("create") || call.contains("save")), "{calls:#?}");
}

#[test]
fn what_was_pushed_is_recognised_by_its_configuration() {
    let lab = laptop();
    let _registry = Registry::start(&lab);
    lab.run(&["deploy"]).expect(0);
    lab.remember_release();
    let ran = lab.run(&["deploy"]).expect(0);
    assert!(ran.stderr.contains("nothing changed"), "{}", ran.stderr);
}

#[test]
fn our_own_images_are_built_where_the_engine_finds_its_images() {
    let lab = laptop();
    let _registry = Registry::start(&lab);
    lab.fails("docker", "'image inspect '*xtask-registry*", 1, "Error: No such image");
    lab.run(&["deploy"]).expect(0);
    let built = lab.calls_of("docker buildx build");
    assert!(
        built[0].contains("'--builder=default'") && built[0].contains("'type=docker,name=xtask-registry:"),
        "{built:?}"
    );
}

#[test]
fn a_builder_that_cannot_be_made_is_named() {
    let lab = laptop();
    lab.fails("docker", "'buildx create '*", 1, "ERROR: existing instance for xtask");
    lab.run(&["build-images"]).expect(1).says(&["`docker buildx create` failed", "existing instance"]);
}

#[test]
fn an_interrupted_copy_of_the_base_does_not_pass_for_one() {
    let lab = laptop();
    lab.on("docker", "'save '*", "exit 1");
    lab.run(&["build-images"]).expect(1);
    lab.on("docker", "'save '*", "tar -cf - -C \"$lab\" layout");
    lab.run(&["build-images", "-n"]).expect(0).shows(&["docker save xtask-base:", "| tar -xf -", "\nmv "]);
}

#[test]
fn a_dry_run_shows_the_builder_and_its_pushes() {
    let lab = laptop();
    let ran = lab.run(&["deploy", "-n"]).expect(0);
    super::shell::assert_takes("sh", &ran.stdout);
    ran.shows(&[
        "docker save xtask-base:",
        "buildkitd.toml' <<'END-OF-INPUT'",
        "docker buildx create --name xtask",
        "docker buildx bake --builder=xtask",
        "sending the layers that the registry of `main` lacks",
    ]);
    assert!(!lab.exists("builder"));
}

#[test]
fn a_taken_port_is_stepped_over() {
    loop {
        // As AirPlay does on macOS.
        let taken = std::net::TcpListener::bind(("127.0.0.1", 5000));
        let lab = laptop();
        let _registry = Registry::start(&lab);
        let ran = lab.run(&["deploy"]).expect(0);
        let pushed = lab.calls().into_iter().find(|call| call.contains("camera.tags=")).unwrap();
        if !pushed.contains("host.docker.internal:5000/") {
            return;
        }
        // Another test's tunnel had the port, which is just as good, and has released it since.
        assert!(taken.is_err(), "{pushed}\n{}", ran.stderr);
    }
}
