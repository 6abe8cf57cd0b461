//! Boot scripts: the pool's template with what one machine needs.

use std::collections::BTreeMap;

use config::Template;
use minijinja::context;
use model::{BatchId, FleetId, UserData};
use ports::{Credential, Registration};
use secrecy::ExposeSecret;

/// Renders the boot script of one batch. A variable that does not exist is an error: a machine with half a script would
/// boot and never join.
///
/// The template sees `fleet`, `pool`, `batch`, `machine` (its name; only when the batch is one machine) and `executor`
/// (what the CI server gave at registration).
pub(crate) fn render(
    template: Option<&Template>,
    fleet: &FleetId,
    batch: &BatchId,
    count: u32,
    registration: Option<&Registration>,
) -> Result<UserData, minijinja::Error> {
    let Some(template) = template else {
        return Ok(UserData::default());
    };
    let environment = template.environment()?;
    let executor: BTreeMap<String, String> = registration
        .into_iter()
        .flat_map(|registration| &registration.credentials)
        .map(|(name, value)| {
            let text = match value {
                Credential::Plain(text) => text.as_str(),
                Credential::Secret(secret) => secret.expose_secret(),
            };
            (name.clone(), text.to_owned())
        })
        .collect();
    let machine = (count == 1).then(|| batch.instance(0).to_string());
    let mut values = context! {
        fleet => fleet.as_str(),
        pool => batch.pool.as_str(),
        batch => batch.to_string(),
        executor => executor,
    };
    if let Some(machine) = machine {
        values = context! { machine => machine, ..values };
    }
    let mut script = environment.get_template(&template.name)?.render(values)?;
    // the template engine drops the last line end, and some shells then drop the last line
    if template.text.ends_with('\n') && !script.ends_with('\n') {
        script.push('\n');
    }
    Ok(UserData(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str, count: u32) -> Result<String, String> {
        let template = Template {
            name: "t".into(),
            text: text.into(),
            parts: [("part".to_owned(), "part of {{ machine }}".to_owned())].into(),
        };
        let registration = Registration {
            executor: model::ExecutorId::new("7"),
            credentials: [("token".to_owned(), Credential::Secret("s3cret".into()))].into(),
        };
        let fleet = "acme".parse().unwrap();
        let batch = "linux-7-1".parse().unwrap();
        render(Some(&template), &fleet, &batch, count, Some(&registration))
            .map(|script| script.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_script_gets_its_name_and_its_credential() {
        let script = script("#!/bin/sh\nrun {{ machine }} {{ executor.token }}\n", 1).unwrap();
        assert_eq!(script, "#!/bin/sh\nrun linux-7-1-0 s3cret\n");
    }

    #[test]
    fn a_part_is_made_with_the_script() {
        let script = script("{% include 'part' %}\n", 1).unwrap();
        assert_eq!(script, "part of linux-7-1-0\n");
    }

    #[test]
    fn an_undefined_variable_is_an_error_and_so_is_the_name_of_one_machine_in_a_batch_of_two() {
        assert!(script("{{ executor.tokn }}", 1).is_err());
        assert!(script("{{ machine }}", 2).is_err());
        assert_eq!(script("{{ batch }}", 2).unwrap(), "linux-7-1");
    }

    #[test]
    fn a_boot_script_is_never_printed() {
        let data = UserData("s3cret".into());
        assert!(!format!("{data:?}").contains("s3cret"));
    }
}
