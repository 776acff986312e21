use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn event_time() -> EventTime {
    EventTime {
        column: 0,
        delay: 10 * SECOND,
        idle_after: 30 * SECOND,
        max_future: Duration::from_secs(300),
    }
}

fn tracker(partitions: i32) -> WatermarkTracker {
    let partitions = (0..partitions).map(|p| (Partition(p), None));
    WatermarkTracker::new(&event_time(), None, partitions, Duration::ZERO)
}

fn seen(max_seconds: Option<i64>, delivered: u64, deliverable: bool) -> Observation {
    Observation {
        max_event_time: max_seconds.map(|s| EventMicros(s * 1_000_000)),
        delivered,
        deliverable,
        ended: false,
    }
}

#[test]
fn the_slowest_active_partition_holds_the_watermark() {
    let mut tracker = tracker(2);
    tracker.observe(Partition(0), seen(Some(100), 1, false), SECOND);
    assert_eq!(tracker.advance(SECOND, None), None);
    tracker.observe(Partition(1), seen(Some(70), 1, false), SECOND);
    assert_eq!(tracker.advance(SECOND, None), Some(Watermark(60_000)));
    assert_eq!(tracker.held_back_by(), Some(Partition(1)));
}

#[test]
fn an_empty_partition_lets_go_after_idle_after_only_if_it_could_have_delivered() {
    let mut tracker = tracker(2);
    for second in 0..=40_u32 {
        let now = second * SECOND;
        tracker.observe(
            Partition(0),
            seen(Some(100 + i64::from(second)), u64::from(second), true),
            now,
        );
        tracker.observe(Partition(1), seen(None, 0, second >= 5), now);
        let watermark = tracker.advance(now, None);
        if second < 35 {
            assert_eq!(watermark, None, "at second {second}");
        } else {
            assert_eq!(watermark, Some(Watermark((90 + i64::from(second)) * 1_000)));
        }
    }
}

#[test]
fn a_disconnected_partition_is_never_idle() {
    let mut tracker = tracker(1);
    tracker.observe(Partition(0), seen(Some(100), 1, true), SECOND);
    tracker.advance(SECOND, None);
    for second in 2..200_u32 {
        tracker.observe(Partition(0), seen(Some(100), 1, false), second * SECOND);
        let open = Some(EventMicros(120_000_000));
        assert_eq!(
            tracker.advance(second * SECOND, open),
            Some(Watermark(90_000))
        );
    }
}

#[test]
fn a_quiet_stream_closes_its_last_window_and_goes_no_further() {
    let mut tracker = tracker(1);
    let open = Some(EventMicros(120_000_000));
    tracker.observe(Partition(0), seen(Some(100), 1, true), SECOND);
    assert_eq!(tracker.advance(SECOND, open), Some(Watermark(90_000)));
    tracker.observe(Partition(0), seen(Some(100), 1, true), 20 * SECOND);
    assert_eq!(tracker.advance(20 * SECOND, open), Some(Watermark(90_000)));
    tracker.observe(Partition(0), seen(Some(100), 1, true), 31 * SECOND);
    assert_eq!(tracker.advance(31 * SECOND, open), Some(Watermark(120_000)));
    tracker.observe(Partition(0), seen(Some(100), 1, true), 500 * SECOND);
    assert_eq!(
        tracker.advance(500 * SECOND, open),
        Some(Watermark(120_000))
    );
}

#[test]
fn a_partition_that_wakes_up_takes_part_again() {
    let mut tracker = tracker(2);
    for second in 1..=40_u32 {
        let now = second * SECOND;
        tracker.observe(
            Partition(0),
            seen(Some(100 + i64::from(second)), u64::from(second), true),
            now,
        );
        tracker.observe(Partition(1), seen(Some(50), 1, true), now);
        tracker.advance(now, None);
    }
    assert_eq!(tracker.watermark(), Some(Watermark(130_000)));
    tracker.observe(Partition(1), seen(Some(51), 2, true), 41 * SECOND);
    tracker.observe(Partition(0), seen(Some(200), 41, true), 41 * SECOND);
    assert_eq!(
        tracker.advance(41 * SECOND, None),
        Some(Watermark(130_000)),
        "it never goes back"
    );
    assert_eq!(tracker.held_back_by(), Some(Partition(1)));
}

#[test]
fn an_ended_partition_does_not_count() {
    let mut tracker = tracker(2);
    let ended = Observation {
        ended: true,
        ..seen(Some(10), 5, true)
    };
    tracker.observe(Partition(0), ended, SECOND);
    tracker.observe(Partition(1), seen(Some(100), 1, false), SECOND);
    assert_eq!(tracker.advance(SECOND, None), Some(Watermark(90_000)));
}

#[test]
fn the_future_guard_admits_what_is_at_most_max_future_ahead() {
    let guard = FutureGuard::at(1_000_000, 300 * SECOND);
    assert!(guard.admits(EventMicros(1_300_000_000)));
    assert!(!guard.admits(EventMicros(1_300_000_001)));
    assert!(guard.admits(EventMicros(i64::MIN)));
}

#[test]
fn watermarks_floor_to_milliseconds_also_before_1970() {
    let delay = Duration::ZERO;
    assert_eq!(
        Watermark::from_event_time(EventMicros(1_999), delay),
        Watermark(1)
    );
    assert_eq!(
        Watermark::from_event_time(EventMicros(-1), delay),
        Watermark(-1)
    );
    assert!(!Watermark(1).has_reached(EventMicros(1_001)));
    assert_eq!(Watermark::reaching(EventMicros(1_001)), Watermark(2));
    assert_eq!(Watermark::reaching(EventMicros(-1_001)), Watermark(-1));
}

proptest! {
    /// INV-WM: the source's watermark never goes back and never passes an active partition's
    /// own, unless it had passed it before.
    #[test]
    fn the_watermark_is_monotone_and_bounded_by_active_partitions(
        steps in prop::collection::vec((0..3_i32, prop::option::of(0..1_000_i64), any::<bool>(), any::<bool>(), 0..20_u32), 1..200)
    ) {
        let mut tracker = tracker(3);
        let mut now = Duration::ZERO;
        let mut delivered = [0_u64; 3];
        let mut before = None;
        for (partition, max, delivers, deliverable, seconds) in steps {
            now += seconds * SECOND;
            delivered[partition as usize] += u64::from(delivers);
            tracker.observe(Partition(partition), seen(max, delivered[partition as usize], deliverable), now);
            let after = tracker.advance(now, Some(EventMicros(500_000_000)));
            prop_assert!(after >= before);
            if after > before {
                for (_, watermark, standing) in tracker.partitions() {
                    prop_assert!(standing != Standing::Active || watermark >= after);
                }
            }
            before = after;
        }
    }
}
