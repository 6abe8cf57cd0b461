//! A verdict for each promise, on facts that were seen from outside.

use super::operator::WHO;
use super::story::Story;
use super::{BUILDERS, age, alone, orders, pools, seconds};

/// Prints the verdicts; true when every promise was kept.
pub(crate) fn give(mut story: Story) -> bool {
    println!("\nverdicts after {}", seconds(story.took));
    let mut kept = true;
    let takeovers = take_overs(&mut story);
    for (promise, broken) in verdicts(&story).into_iter().chain([takeovers]) {
        let word = if broken.is_empty() {
            "kept  "
        } else {
            "BROKEN"
        };
        println!("  {word}  {promise}");
        for fact in broken {
            kept = false;
            println!("            {fact}");
        }
    }
    kept
}

/// Each promise with the facts that break it.
fn verdicts(story: &Story) -> Vec<(String, Vec<String>)> {
    let asked = BUILDERS.iter().map(|builder| builder.builds);
    let asked = asked.sum::<usize>() + alone::BUILDS + age::BUILDS + orders::BUILDS;
    let mut most = story
        .most
        .iter()
        .map(|(pool, most)| format!("{most} of {pool}"))
        .collect::<Vec<_>>();
    most.sort();
    vec![
        (
            "the story came to its end".to_owned(),
            story.broken_off.iter().cloned().collect(),
        ),
        (
            format!("every one of {asked} builds succeeded"),
            failed(story, asked),
        ),
        (
            "none ran twice, but the one whose machine was killed".to_owned(),
            repeated(story),
        ),
        (
            format!(
                "no more machines than `max` at any look: at most {}",
                most.join(", ")
            ),
            too_many(story),
        ),
        (
            format!("none of {} machines was forgotten", story.ever.len()),
            forgotten(story),
        ),
        (
            format!("the next offer stood in for a cloud without room, which was asked {} times", story.refused),
            tried_too_often(story),
        ),
        ("every fault came about".to_owned(), missed(story)),
        (
            "with everybody gone, a machine that nobody wants ended its build and powered off, and the other stayed until it was asked to drain".to_owned(),
            played(story.alone.as_ref(), |alone| &alone.facts),
        ),
        (
            "`parmanu reap` left the machine whose build ran, deleted it when that was over, and touched no other".to_owned(),
            played(story.alone.as_ref(), |alone| &alone.reap),
        ),
        (
            "`parmanu doctor` named the machine that nobody wants, with all services gone".to_owned(),
            played(story.alone.as_ref(), |alone| &alone.doctor),
        ),
        (
            format!("an order of {WHO} given to the scaler that stands by was in force at the other, and ended by itself"),
            played(story.orders.as_ref(), |orders| &orders.pin),
        ),
        (
            "for a changed boot script another machine had joined before the old one left".to_owned(),
            played(story.orders.as_ref(), |orders| &orders.change),
        ),
        (
            "a machine that reached its age ended its build, and another had joined by then".to_owned(),
            played(story.orders.as_ref(), |orders| &orders.age),
        ),
        (
            "a single-use machine was cordoned while its build ran, and the next build had another".to_owned(),
            played(story.orders.as_ref(), |orders| &orders.reuse),
        ),
        (
            "of machines that join no CI server one came for a pin, another stood in before it left for a drain, none left in a pause, and all after it".to_owned(),
            played(story.nodes.as_ref(), |nodes| &nodes.facts),
        ),
        (
            "`parmanu doctor` found nothing wrong at the end".to_owned(),
            story.unwell.clone(),
        ),
        (
            "the services raised no alarm and ended well".to_owned(),
            alarms(story),
        ),
    ]
}

/// Whether the first offer was not tried, or was tried for each machine although it had just been refused.
fn tried_too_often(story: &Story) -> Vec<String> {
    let made = story.ever.len();
    // those of one tick are asked for before the first refusal is heard
    let few = story.refused > 0 && story.refused < made;
    let fact = || format!("for {made} machines it was asked {} times", story.refused);
    (!few).then(fact).into_iter().collect()
}

/// What breaks a promise of a part of the story, which it does too when that was not played.
fn played<Part>(part: Option<&Part>, facts: impl Fn(&Part) -> &Vec<String>) -> Vec<String> {
    match part {
        Some(part) => facts(part).clone(),
        None => vec!["it was not played".to_owned()],
    }
}

/// How long the standby needed.
fn take_overs(story: &mut Story) -> (String, Vec<String>) {
    let mut measured = Vec::new();
    let mut broken = Vec::new();
    for takeover in story.faults.takeovers.drain(..) {
        let (words, too_long) = takeover.measured();
        if too_long {
            broken.push(words.clone());
        }
        measured.push(words);
    }
    if measured.len() != 2 {
        broken.push(format!("{} take-overs were played", measured.len()));
    }
    let promise = format!("the standby took over: {}", measured.join("; "));
    (promise, broken)
}

fn failed(story: &Story, asked: usize) -> Vec<String> {
    let requests = &story.queue.requests;
    let mut facts: Vec<String> = requests
        .iter()
        .filter(|(_, request)| !request.complete || request.results != 0)
        .map(|(id, request)| {
            format!(
                "request {id} of {}: result {}",
                request.builder, request.results
            )
        })
        .collect();
    if requests.len() != asked {
        facts.push(format!("{} requests are known", requests.len()));
    }
    facts
}

fn repeated(story: &Story) -> Vec<String> {
    let builds_of = |request: u64| {
        story
            .queue
            .builds
            .values()
            .filter(move |build| build.request == request)
    };
    let once = |id: &u64| {
        let results: Vec<Option<i64>> = builds_of(*id).map(|build| build.results).collect();
        let expected: &[Option<i64>] = match story.faults.lost {
            Some(lost) if lost == *id => &[Some(5), Some(0)],
            _ => &[Some(0)],
        };
        (results != expected).then(|| format!("request {id} was built with results {results:?}"))
    };
    story.queue.requests.keys().filter_map(once).collect()
}

fn too_many(story: &Story) -> Vec<String> {
    let over = |(pool, max)| {
        let most = story.most.get(pool).copied().unwrap_or_default();
        (most > max).then(|| format!("{most} machines of {pool} with `max: {max}`"))
    };
    pools().filter_map(over).collect()
}

fn forgotten(story: &Story) -> Vec<String> {
    let mut facts: Vec<String> = story
        .left
        .iter()
        .map(|name| format!("machine {name} is left"))
        .collect();
    for worker in story.queue.workers.values() {
        if worker.connected {
            facts.push(format!("worker {} is still connected", worker.name));
        }
        if worker.paused {
            facts.push(format!("worker name {} is still paused", worker.name));
        }
    }
    match story.intents {
        Some(0) => {}
        Some(left) => facts.push(format!("{left} intents are left in Redis")),
        None => facts.push("Redis did not say which intents are left".to_owned()),
    }
    if story.ever.is_empty() {
        facts.push("no machine was ever seen".to_owned());
    }
    facts
}

fn missed(story: &Story) -> Vec<String> {
    let missed = story.faults.missed().iter();
    let mut facts: Vec<String> = missed
        .map(|fault| format!("{fault:?} was not played"))
        .collect();
    if story.faults.lost.is_none() {
        facts.push("no machine was killed in the middle of a build".to_owned());
    }
    facts
}

fn alarms(story: &Story) -> Vec<String> {
    let mut facts = story.alarms.clone();
    if !story.ended_well {
        facts.push("a service did not end well when it was asked to stop".to_owned());
    }
    facts
}
