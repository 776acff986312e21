//! A record that is sent twice is stored once.

use crate::proxy::Proxy;
use crate::support::{flush, producer, producer_at, read, send, texts, topic, write};
use crate::wire::{Identity, Wire, batch, errors};

#[test]
fn five_requests_in_flight_keep_their_order() {
    let topic = topic("in-flight", 1);
    let settings = [
        ("enable.idempotence", "true"),
        ("max.in.flight.requests.per.connection", "5"),
        ("batch.num.messages", "10"),
        ("linger.ms", "0"),
    ];
    let producer = producer(&settings);
    for number in 0..5_000 {
        send(&producer, &topic, 0, &number.to_string());
    }
    assert!(flush(&producer).iter().all(Result::is_ok));
    assert_in_order(&topic, 5_000);
}

#[test]
fn records_whose_acknowledgement_is_lost_are_sent_again_and_stored_once() {
    let topic = topic("lost-acks", 1);
    // The connection breaks where every 20th acknowledgement would come.
    let proxy = Proxy::losing_acknowledgements(20);
    let settings = [
        ("enable.idempotence", "true"),
        ("max.in.flight.requests.per.connection", "5"),
        ("batch.num.messages", "10"),
        ("linger.ms", "0"),
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "10"),
        ("reconnect.backoff.ms", "1"),
        ("reconnect.backoff.max.ms", "10"),
    ];
    let producer = producer_at(proxy.address(), &settings);
    for number in 0..2_000 {
        send(&producer, &topic, 0, &number.to_string());
    }
    let deliveries = flush(&producer);
    assert!(deliveries.iter().all(Result::is_ok));
    assert!(proxy.lost() >= 5, "{} lost", proxy.lost());
    assert_in_order(&topic, 2_000);
}

fn assert_in_order(topic: &str, count: usize) {
    let values = texts(&read(topic, &[]));
    assert_eq!(values.len(), count);
    for (place, value) in values.iter().enumerate() {
        assert_eq!(*value, place.to_string());
    }
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_at_its_first_place() {
    let topic = topic("again", 1);
    let mut wire = Wire::connect();
    let me = wire.producer();
    let mut sequence = 0;
    for offset in [0, 2, 4, 6, 8] {
        let answer = wire.produce(&topic, batch(me, sequence, &["a", "b"]));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (errors::NONE, offset)
        );
        sequence += 2;
    }
    // The last five batches are remembered.
    for (sequence, offset) in [(8, 8), (0, 0), (4, 4)] {
        let answer = wire.produce(&topic, batch(me, sequence, &["a", "b"]));
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (errors::NONE, offset)
        );
    }
    assert_eq!(read(&topic, &[]).len(), 10);
}

#[test]
fn a_gap_in_the_sequence_is_refused() {
    let topic = topic("gap", 1);
    let mut wire = Wire::connect();
    let me = wire.producer();
    assert_eq!(
        wire.produce(&topic, batch(me, 0, &["a", "b"])).error_code,
        0
    );
    for sequence in [1, 3, 100] {
        let answer = wire.produce(&topic, batch(me, sequence, &["x"]));
        assert_eq!(
            answer.error_code,
            errors::OUT_OF_ORDER_SEQUENCE_NUMBER,
            "sequence {sequence}"
        );
    }
    assert_eq!(wire.produce(&topic, batch(me, 2, &["c"])).base_offset, 2);
}

#[test]
fn sequences_go_on_from_zero_after_the_largest() {
    let topic = topic("wrap", 1);
    let mut wire = Wire::connect();
    let me = wire.producer();
    // A producer that is not known here may begin anywhere.
    let first = wire.produce(&topic, batch(me, i32::MAX - 1, &["a", "b"]));
    assert_eq!((first.error_code, first.base_offset), (errors::NONE, 0));
    let second = wire.produce(&topic, batch(me, 0, &["c"]));
    assert_eq!((second.error_code, second.base_offset), (errors::NONE, 2));
}

#[test]
fn a_new_epoch_starts_at_zero_and_shuts_out_the_old_one() {
    let topic = topic("epoch", 1);
    let mut wire = Wire::connect();
    let old = wire.producer();
    let new = Identity {
        epoch: old.epoch + 1,
        ..old
    };
    assert_eq!(wire.produce(&topic, batch(old, 0, &["a"])).error_code, 0);
    assert_eq!(
        wire.produce(&topic, batch(new, 1, &["x"])).error_code,
        errors::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(wire.produce(&topic, batch(new, 0, &["b"])).error_code, 0);
    assert_eq!(
        wire.produce(&topic, batch(old, 1, &["x"])).error_code,
        errors::INVALID_PRODUCER_EPOCH
    );
    assert_eq!(texts(&read(&topic, &[])), ["a", "b"]);
}

#[test]
fn producers_do_not_disturb_each_other() {
    let topic = topic("several", 1);
    let mut wire = Wire::connect();
    let (one, other) = (wire.producer(), wire.producer());
    assert_ne!(one.id, other.id);
    wire.produce(&topic, batch(one, 0, &["a"]));
    wire.produce(&topic, batch(other, 0, &["b"]));
    write(&topic, 0, &["c"]);
    wire.produce(&topic, batch(one, 1, &["d"]));
    wire.produce(&topic, batch(other, 1, &["e"]));
    assert_eq!(texts(&read(&topic, &[])), ["a", "b", "c", "d", "e"]);
}
