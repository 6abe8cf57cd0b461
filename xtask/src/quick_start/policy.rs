//! The policy of step 3 before two judges that are not ours.
//!
//! Parliament knows from AWS' own tables which actions there are, and which resources and conditions go with each; it asks nobody.
//! moto refuses what a policy does not name, and knows neither conditions nor resources: a statement that has some allows nothing
//! there. So it is given the same policy without them, and what it judges is the list of actions. That AWS reads the conditions as
//! we do is seen by neither.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::account::Account;

const ARN: [&str; 2] = [
    "--policy-arn",
    "arn:aws:iam::123456789012:policy/parmanu-acme-ci",
];
/// What no statement of the policy names.
const FORBIDDEN: [&[&str]; 2] = [&["iam", "list-users"], &["ec2", "describe-vpcs"]];

/// Lets both judge the policy, and makes sure that moto does: the keys in `secrets` may do what is named, and nothing else.
///
/// # Errors
///
/// With what they found.
pub(super) fn judge(account: &Account, parliament: &Path, secrets: &Path) -> anyhow::Result<()> {
    let version = ["iam", "get-policy-version", "--version-id", "v1"];
    let shown = account.aws(&[&version[..], &ARN].concat())?;
    let mut document = shown["PolicyVersion"]["Document"].clone();
    lint(parliament, &document.to_string())?;
    let statements = document["Statement"].as_array_mut();
    for statement in statements.context("the policy has no statements")? {
        statement["Resource"] = json!("*");
        statement.as_object_mut().map(|it| it.remove("Condition"));
    }
    let document = document.to_string();
    let version = ["iam", "create-policy-version", "--set-as-default"];
    account.aws(&[&version[..], &ARN, &["--policy-document", &document]].concat())?;
    let read = |name: &str| std::fs::read_to_string(secrets.join(name));
    let (id, secret) = (read("aws_id")?, read("aws_secret")?);
    let keys = Some((id.trim(), secret.trim()));
    account.aws_as(keys, &["ec2", "describe-instances"])?;
    for asked in FORBIDDEN {
        let refused = account.aws_as(keys, asked).err();
        let words = refused.map_or_else(String::new, |error| format!("{error:#}"));
        let is = words.contains("AccessDenied") || words.contains("UnauthorizedOperation");
        ensure!(is, "{asked:?} was not refused: {words}");
    }
    Ok(())
}

/// Takes back what [`judge`] did to the policy, so that its owner can delete it: a policy with several versions stays.
pub(super) fn give_back(account: &Account) -> anyhow::Result<()> {
    for (verb, version) in [
        ("set-default-policy-version", "v1"),
        ("delete-policy-version", "v2"),
    ] {
        account.aws(&[&["iam", verb, "--version-id", version][..], &ARN].concat())?;
    }
    Ok(())
}

fn lint(parliament: &Path, document: &str) -> anyhow::Result<()> {
    let mut command = Command::new(parliament);
    command.args(["--json", "--minimum_severity", "LOW", "--string", document]);
    let output = command.output().context("could not start parliament")?;
    let words = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // it ends with 1 when it has found something, and so does an exception
    ensure!(errors.trim().is_empty(), "parliament: {}", errors.trim());
    complaints(&words)
}

/// What is wrong, among what it says, a line of JSON each.
///
/// `RunInstances` needs rights to resources of many kinds, and is allowed by two statements: what is made must carry our tag, what it
/// is made from has none. Of each alone the kinds of the other are missing, and that is said. Only a kind that both miss is wrong.
fn complaints(words: &str) -> anyhow::Result<()> {
    let mut missing: Vec<BTreeSet<String>> = Vec::new();
    for line in words.lines() {
        let found: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let details = found["detail"].as_array().cloned().unwrap_or_default();
        let of_launches = |it: &Value| it["action"] == "ec2:RunInstances";
        if found["issue"] != "RESOURCE_MISMATCH" || !details.iter().all(of_launches) {
            bail!("parliament: {line}");
        }
        let kinds = details.iter().map(|it| it["required_format"].to_string());
        missing.push(kinds.collect());
    }
    if let [first, rest @ ..] = missing.as_slice() {
        let twice = |kind: &&String| rest.iter().all(|other| other.contains(*kind));
        let nowhere: Vec<_> = first.iter().filter(twice).collect();
        ensure!(
            nowhere.is_empty(),
            "no statement allows to launch {nowhere:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::complaints;

    fn mismatch(kinds: &[&str]) -> String {
        let detail =
            |kind: &&str| format!(r#"{{"action":"ec2:RunInstances","required_format":"{kind}"}}"#);
        let details: Vec<_> = kinds.iter().map(detail).collect();
        let details = details.join(",");
        format!("{{\"issue\":\"RESOURCE_MISMATCH\",\"detail\":[{details}]}}\n")
    }

    #[test]
    fn a_kind_that_one_of_two_statements_allows_is_allowed() {
        let words = mismatch(&["image", "subnet"]) + &mismatch(&["instance"]);
        complaints(&words).unwrap();
        let words = mismatch(&["image", "subnet"]) + &mismatch(&["instance", "subnet"]);
        assert!(complaints(&words).is_err());
        assert!(complaints(&mismatch(&["volume"])).is_err());
    }

    #[test]
    fn any_other_complaint_is_one() {
        let words = r#"{"issue":"UNKNOWN_ACTION","detail":"Unknown action ec2:EndInstances"}"#;
        assert!(complaints(words).is_err());
        complaints("").unwrap();
    }
}
