//! What stands in `docker-compose.yml`, `deploy/kubernetes` and `deploy/systemd` exists in the programs: flags, variables,
//! ports, paths and files of secrets. Not that it runs: that needs an engine, a cluster, a systemd.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args as _;
use serde::Deserialize as _;
use serde_json::Value;

/// Each service with its port, and the file that says so.
const SERVICES: [(&str, u16, &str); 2] = [
    ("probot", 9641, include_str!("../../probot/src/main.rs")),
    ("scaler", 9642, include_str!("../../scaler/src/main.rs")),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents of a YAML file, with `<<:` carried out.
fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_yaml::Deserializer::from_str(&text);
    let values = documents.map(|document| {
        let mut value = serde_yaml::Value::deserialize(document).unwrap();
        value.apply_merge().unwrap();
        serde_json::to_value(value).unwrap()
    });
    values.collect()
}

fn manifest(name: &str, kind: &str) -> Value {
    let name = format!("parmanu-{name}");
    let documents = documents("deploy/kubernetes/parmanu.yaml");
    let mut found = documents.into_iter();
    let found = found.find(|value| value["kind"] == kind && value["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn list(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn command() -> clap::Command {
    service::Arguments::augment_args(clap::Command::new("service"))
}

/// The variables that the services read, as the programs define them.
fn variables() -> BTreeSet<String> {
    let command = command();
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

/// Files of secrets that a configuration refers to in this folder.
fn secrets_of(config: &str, folder: &str) -> BTreeSet<String> {
    let text = read(config);
    let references = text.split("${file:").skip(1);
    let paths = references.map(|rest| rest.split_once('}').unwrap().0);
    let names = paths.map(|path| {
        path.strip_prefix(folder)
            .unwrap_or_else(|| panic!("{path}"))
    });
    names.map(str::to_owned).collect()
}

/// probot has what it needs and nothing that changes anything; the scaler has all.
fn secrets_are_as_the_configuration_says(given: [BTreeSet<String>; 2], named: &BTreeSet<String>) {
    let [probot, scaler] = given;
    assert_eq!(&scaler, named);
    let least = ["gitlab_token", "redis_url"].map(str::to_owned).into();
    assert_eq!(probot, least);
}

fn is_usable(config: &str) {
    let loaded = config::load(&root().join(config), &service::registries());
    let (_, report) = loaded.unwrap_or_else(|error| panic!("{config}: {error:?}"));
    assert!(report.0.is_empty(), "{config}: {report}");
}

#[test]
fn the_ports_are_those_of_the_programs() {
    for (name, port, main) in SERVICES {
        assert!(main.contains(&format!("port: {port},")), "{name}");
        let dockerfile = read("Dockerfile");
        for line in [
            format!("ENV PARMANU_LISTEN=0.0.0.0:{port}\nEXPOSE {port}\n"),
            format!("ENTRYPOINT [\"/usr/local/bin/{name}\"]"),
            format!("CMD [\"/usr/local/bin/{name}\", \"--health\"]"),
        ] {
            assert!(dockerfile.contains(&line), "{line}");
        }
    }
    let flags = command();
    assert!(
        flags
            .get_arguments()
            .any(|flag| flag.get_long() == Some("health"))
    );
    for (name, _, main) in SERVICES {
        assert!(main.contains("if arguments.health {"), "{name}");
    }
    let known = variables();
    for line in read("Dockerfile").lines() {
        if let Some((name, _)) = line.strip_prefix("ENV ").and_then(|it| it.split_once('=')) {
            assert!(known.contains(name), "no program reads {name}");
        }
    }
}

#[test]
fn compose_names_what_there_is() {
    is_usable("config/services.yaml");
    let [compose] = <[Value; 1]>::try_from(documents("docker-compose.yml")).unwrap();
    let mut given = Vec::new();
    for (name, port, _) in SERVICES {
        let service = &compose["services"][name];
        let environment = service["environment"].as_object().unwrap();
        for variable in environment.keys() {
            assert!(variables().contains(variable), "{variable}");
        }
        assert_eq!(environment["PARMANU_LISTEN"], format!("0.0.0.0:{port}"));
        assert_eq!(environment["PARMANU_CONFIG"], "/etc/parmanu/parmanu.yaml");
        assert_eq!(service["volumes"][0], "./config:/etc/parmanu:ro");
        assert_eq!(service["ports"][0], format!("127.0.0.1:{port}:{port}"));
        let program = format!("/usr/local/bin/{name}");
        let asked = serde_json::json!(["CMD", program, "--health"]);
        assert_eq!(service["healthcheck"]["test"], asked);
        let secrets = list(&service["secrets"]).iter();
        let targets = secrets.map(|it| text(it.get("target").unwrap_or(it)).to_owned());
        given.push(targets.collect());
    }
    let named = secrets_of("config/services.yaml", "/run/secrets/");
    secrets_are_as_the_configuration_says(given.try_into().unwrap(), &named);
    // whoever looks must see what the scaler sees, or its doubts are not the scaler's
    let [scaler, operator] = ["scaler", "parmanu"].map(|name| &compose["services"][name]);
    for key in ["secrets", "volumes", "networks"] {
        assert_eq!(operator[key], scaler[key], "{key}");
    }
    assert_eq!(
        operator["profiles"][0], "operator",
        "`up` would start a command that ends"
    );
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        assert_eq!(
            service["security_opt"][0], "no-new-privileges:true",
            "{name}"
        );
        assert!(!text(&service["user"]).starts_with('0'), "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for secret in list(&service["secrets"]) {
            let source = text(secret.get("source").unwrap_or(secret));
            assert!(compose["secrets"].get(source).is_some(), "{source}");
        }
    }
}

/// The demo of Compose stands by itself: each secret that docker-compose.yml wants has a file in the repository, which is none.
#[test]
fn the_demo_brings_all_that_compose_wants_and_no_secret() {
    let [base] = <[Value; 1]>::try_from(documents("docker-compose.yml")).unwrap();
    let [demo] = <[Value; 1]>::try_from(documents("docker-compose.demo.yml")).unwrap();
    let keys = |compose: &Value| -> BTreeSet<String> {
        let secrets = compose["secrets"].as_object().unwrap();
        secrets.keys().cloned().collect()
    };
    assert_eq!(keys(&demo), keys(&base));
    for (name, secret) in demo["secrets"].as_object().unwrap() {
        let file = text(&secret["file"]);
        assert_eq!(file, format!("./deploy/demo/secrets/{name}"));
        let words = read(file);
        let known = ["demo-", "AKIAFAKE", "user default reset off"];
        assert!(known.iter().any(|it| words.contains(it)), "{name}: {words}");
    }
    let services = SERVICES.map(|(name, ..)| name);
    for name in services.into_iter().chain(["parmanu"]) {
        let folder = &demo["services"][name]["volumes"][0];
        assert_eq!(folder, "./deploy/demo:/etc/parmanu:ro", "{name}");
    }
    let world = &demo["services"]["world"];
    assert_eq!(world["read_only"], true);
    assert_eq!(world["cap_drop"][0], "ALL");
    assert!(
        world.get("ports").is_none(),
        "nobody outside has a use for it"
    );
    let config = root().join("deploy/demo/parmanu.yaml");
    let loaded = config::load(&config, &service::registries());
    loaded.unwrap_or_else(|error| panic!("{error:?}"));
    let named = secrets_of("deploy/demo/parmanu.yaml", "/run/secrets/");
    assert_eq!(named, secrets_of("config/services.yaml", "/run/secrets/"));
    rights_are_as_documented(&read("deploy/demo/secrets/redis_users.acl"), "demo");
}

/// Users of Redis, as `docs/redis.md` has them.
fn rights_are_as_documented(users: &str, fleet: &str) {
    for (name, ..) in SERVICES {
        let document = read("docs/redis.md").replace("FLEET", fleet);
        let documented = document
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let line = users
            .lines()
            .find(|line| line.starts_with(&format!("user {name} reset on #")));
        assert!(line.unwrap().ends_with(documented.unwrap()), "{users}");
    }
    assert!(users.contains("user default reset off\n"), "{users}");
}

#[test]
fn the_manifests_name_what_there_is() {
    is_usable("deploy/kubernetes/config/parmanu.yaml");
    for script in ["gitlab-runner.sh.j2", "guest.sh.j2"] {
        assert_eq!(
            read(&format!("deploy/kubernetes/config/{script}")),
            read(&format!("config/bootstrap/{script}")),
            "the copy of the boot script is another one"
        );
    }
    let mut given = Vec::new();
    for (name, port, _) in SERVICES {
        let pod = &manifest(name, "Deployment")["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        for variable in list(&container["env"]) {
            assert!(variables().contains(text(&variable["name"])), "{variable}");
        }
        let config = "/etc/parmanu/config/parmanu.yaml";
        assert_eq!(container["env"][0]["value"], config);
        assert_eq!(
            container["volumeMounts"][0]["mountPath"],
            "/etc/parmanu/config"
        );
        assert_eq!(
            container["volumeMounts"][1]["mountPath"],
            "/etc/parmanu/secrets"
        );
        assert_eq!(container["env"][1]["value"], format!("0.0.0.0:{port}"));
        assert_eq!(container["ports"][0]["containerPort"], port);
        assert_eq!(manifest(name, "Service")["spec"]["ports"][0]["port"], port);
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        let paths = probes.map(|it| &container[it]["httpGet"]["path"]);
        assert_eq!(paths, ["/healthz", "/healthz", "/readyz"]);
        assert!(container["volumeMounts"][0].get("subPath").is_none());
        let account = manifest(name, "ServiceAccount");
        assert_eq!(account["automountServiceAccountToken"], false);
        assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
        let items = list(&pod["volumes"][1]["secret"]["items"]).iter();
        given.push(items.map(|item| text(&item["path"]).to_owned()).collect());
    }
    let folder = "/etc/parmanu/secrets/";
    let named = secrets_of("deploy/kubernetes/config/parmanu.yaml", folder);
    secrets_are_as_the_configuration_says(given.try_into().unwrap(), &named);
    for name in ["probot", "scaler", "redis"] {
        let pod = &manifest(name, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert!(
            pod["securityContext"]["runAsUser"].as_u64() > Some(0),
            "{name}"
        );
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"]["readOnlyRootFilesystem"], true,
            "{name}"
        );
        assert_eq!(
            container["securityContext"]["allowPrivilegeEscalation"], false,
            "{name}"
        );
        assert!(
            container["resources"]["limits"]["memory"].is_string(),
            "{name}"
        );
    }
}

#[test]
fn the_units_start_the_programs_with_flags_that_they_have() {
    let mut given = Vec::new();
    for (name, port, _) in SERVICES {
        let unit = read(&format!("deploy/systemd/parmanu-{name}.service"));
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let mut words = start.unwrap().split_whitespace();
        assert_eq!(
            words.next(),
            Some(format!("/usr/local/bin/{name}").as_str())
        );
        let words = [name].into_iter().chain(words);
        let parsed = command().try_get_matches_from(words).unwrap();
        let listen: &std::net::SocketAddr = parsed.get_one("listen").unwrap();
        assert_eq!((listen.port(), listen.ip().is_loopback()), (port, true));
        let credentials = unit
            .lines()
            .filter_map(|line| line.strip_prefix("LoadCredential="));
        given.push(
            credentials
                .map(|it| it.split_once(':').unwrap().0.to_owned())
                .collect(),
        );
    }
    let named = secrets_of("config/services.yaml", "/run/secrets/");
    secrets_are_as_the_configuration_says(given.try_into().unwrap(), &named);
}

/// What a newcomer copies out of the quick start can be used as it stands.
#[test]
fn the_configuration_of_the_quick_start_is_good() {
    let page = read("docs/quick-start.md");
    let block = page.split("```yaml\n").nth(1).unwrap();
    let (yaml, _) = block.split_once("```").unwrap();
    let config = root().join("config");
    let (_, report) = config::check_text(yaml, "quick-start", &config, &service::registries())
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert!(report.0.is_empty(), "{report}");
    for secret in yaml.split("/run/secrets/").skip(1) {
        let name = secret.split('}').next().unwrap();
        let made = [
            format!("secrets/{name}"),
            "deploy/redis/users.sh".to_owned(),
        ];
        assert!(made.iter().any(|it| page.contains(it)), "{name}");
    }
}

/// Whoever sets up a plugin finds the smallest rights for it, by its name.
#[test]
fn every_plugin_has_its_smallest_rights_written_down() {
    let registries = service::registries();
    let emitters = registries.emitters.iter().map(|(kind, _)| kind);
    let kinds = emitters.chain(registries.providers.iter().map(|(kind, _)| kind));
    for kind in kinds.filter(|kind| *kind != "fake") {
        let folder = match kind {
            "ec2" => "aws",
            other => other,
        };
        let place = root().join("deploy").join(folder);
        let files = std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(files.count() > 0, "{kind}");
    }
}

/// Directives whose absence would give a service a right that it has no use for. `systemd-analyze` judges the rest.
#[test]
fn the_units_give_nothing_that_is_not_needed() {
    const WANTED: [&str; 22] = [
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectProc=invisible",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "PrivateUsers=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "UMask=0077",
    ];
    for (name, ..) in SERVICES {
        let unit = read(&format!("deploy/systemd/parmanu-{name}.service"));
        let lines: Vec<&str> = unit.lines().collect();
        for directive in WANTED {
            assert!(lines.contains(&directive), "{name}: {directive}");
        }
        let root_owned = [
            "User=root",
            "PermissionsStartOnly",
            "ExecStart=+",
            "ExecStart=!",
        ];
        for never in root_owned {
            assert!(!unit.contains(never), "{name}: {never}");
        }
    }
}

#[test]
fn the_users_of_redis_have_the_rights_that_are_documented() {
    let folder = std::env::temp_dir().join(format!("parmanu-users-{}", std::process::id()));
    let made = std::process::Command::new("sh")
        .arg(root().join("deploy/redis/users.sh"))
        .arg("acme-ci")
        .arg(&folder)
        .status();
    assert!(made.unwrap().success());
    let users = std::fs::read_to_string(folder.join("redis_users.acl")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    rights_are_as_documented(&users, "acme-ci");
}
