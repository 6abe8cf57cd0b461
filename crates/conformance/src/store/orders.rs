//! Orders of operators: kept for their time, told with it, ended once.

use std::time::Duration;

use model::{Directive, Order, StoredOrders};
use ports::StoreErrorKind;

use super::{LONG, LONGER_THAN_SHORT, SHORT, StoreHarness, pool};

const WEEK: Duration = Order::LONGEST;

fn order(what: Directive) -> Order {
    let (who, why) = ("ann".to_owned(), "the release of 2.0".to_owned());
    Order { what, who, why }
}

fn pause(name: &str) -> Order {
    order(Directive::Pause { pool: pool(name) })
}

fn pin(machines: u32) -> Order {
    let pool = pool("linux");
    order(Directive::Pin { pool, machines })
}

async fn put(harness: &dyn StoreHarness, order: &Order, lasts: Duration) {
    let put = harness.store().put_order(order, lasts).await;
    put.expect("the store takes it");
}

async fn read(harness: &dyn StoreHarness) -> StoredOrders {
    let record = harness.store().read(&[], &[]).await;
    record.expect("the store answers").orders
}

async fn end(harness: &dyn StoreHarness, id: &str, only_if_over: bool) -> bool {
    let ended = harness.store().end_order(id, only_if_over).await;
    ended.expect("the store answers")
}

/// Without it an operator cannot correct a pin, or a pause has two ends.
pub async fn an_order_is_read_with_its_time_and_a_second_one_takes_its_place(
    harness: &dyn StoreHarness,
) {
    put(harness, &pin(3), LONG).await;
    put(harness, &pause("linux"), LONG).await;
    harness.pass(SHORT).await;
    put(harness, &pin(5), WEEK).await;
    let found = read(harness).await;
    let orders: Vec<_> = found.orders.iter().map(|it| it.order.clone()).collect();
    assert_eq!(orders, [pause("linux"), pin(5)], "by their ids");
    let [pause, pin] = &found.orders[..] else {
        panic!("{found:?}")
    };
    assert!(pause.age >= SHORT && pause.age > pin.age, "{found:?}");
    assert!(pause.remaining <= LONG - SHORT, "{found:?}");
    assert!(
        pin.remaining > WEEK - LONG && pin.remaining <= WEEK,
        "{found:?}"
    );
    assert_eq!(found.unreadable, Vec::<String>::new());
}

/// Without it nobody hears that a pause is over, or it holds for ever.
pub async fn an_order_that_is_over_is_told_until_somebody_ends_it(harness: &dyn StoreHarness) {
    put(harness, &pause("linux"), SHORT).await;
    harness.pass(LONGER_THAN_SHORT).await;
    let found = read(harness).await;
    assert_eq!(found.orders.len(), 1);
    assert!(found.orders[0].remaining.is_zero(), "{found:?}");
    assert!(end(harness, "pause:linux", true).await);
    assert_eq!(read(harness).await, StoredOrders::default());
}

/// Without it the audit has two ends of one override, or none.
pub async fn of_many_who_end_an_order_one_is_told(harness: &dyn StoreHarness) {
    put(harness, &pause("linux"), LONG).await;
    let ends = (0..8).map(|_| end(harness, "pause:linux", false));
    let told = futures::future::join_all(ends).await;
    assert_eq!(told.iter().filter(|was_there| **was_there).count(), 1);
    assert!(!end(harness, "pause:windows", false).await);
}

/// Without it a scaler that was slow ends the pause that an operator has just prolonged.
pub async fn one_that_holds_does_not_go_when_it_is_ended_as_over(harness: &dyn StoreHarness) {
    put(harness, &pause("linux"), SHORT).await;
    harness.pass(LONGER_THAN_SHORT).await;
    put(harness, &pause("linux"), LONG).await;
    assert!(!end(harness, "pause:linux", true).await);
    assert_eq!(read(harness).await.orders.len(), 1);
}

/// Without it a quotation mark in a reason spoils the overrides of the fleet.
pub async fn odd_names_and_words_survive(harness: &dyn StoreHarness) {
    let image = "projects/acme/global/images/ci \"v1\":é".to_owned();
    let mut odd = order(Directive::DrainImage { image });
    odd.why = "\"until_ms\":9,\u{0} \\ \n see https://example.com/?a=b&c".to_owned();
    put(harness, &odd, LONG).await;
    assert_eq!(read(harness).await.orders[0].order, odd);
    let id = odd.what.id();
    assert!(!end(harness, &id, true).await, "it still holds");
    assert!(end(harness, &id, false).await);
    assert_eq!(read(harness).await, StoredOrders::default());
}

/// Without it a script that runs wild fills the store.
pub async fn there_is_a_bound(harness: &dyn StoreHarness) {
    let zone = |n: usize| Directive::DrainZone {
        zone: format!("zone-{n}"),
    };
    for n in 0..Order::MOST {
        put(harness, &order(zone(n)), LONG).await;
    }
    let more = order(zone(Order::MOST));
    let refused = harness.store().put_order(&more, LONG).await;
    let refused = refused.expect_err("one too many");
    assert_eq!(refused.kind, StoreErrorKind::Refused);
    // one that is there may still be changed
    put(harness, &order(zone(0)), WEEK).await;
    assert_eq!(read(harness).await.orders.len(), Order::MOST);
}

/// That it does is documented: the rules decide again.
pub async fn a_wipe_forgets_orders(harness: &dyn StoreHarness) {
    put(harness, &pause("linux"), LONG).await;
    harness.wipe().await;
    assert_eq!(read(harness).await, StoredOrders::default());
}
