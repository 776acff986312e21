//! What a client may not take, and what it may not send.

use super::*;

#[test]
fn a_group_has_a_largest_number_of_members_and_of_ids_given_out() {
    let mut world = World::with(Limits {
        members: 2,
        ..Limits::default()
    });
    let ids = [world.id_for("a"), world.id_for("b")];
    assert_eq!(
        world.refused(member("c")),
        GroupError::GroupFull,
        "as many ids were given out"
    );
    let mut a = world.join(again(member("a"), &ids[0]));
    let first = said(&mut a).unwrap();
    let c = world.id_for("c");
    let mut b = world.join(again(member("b"), &ids[1]));
    assert!(waits(&mut b));
    world.joins_nothing_more(&c);
    let mut a = world.join(again(member("a"), &first.member));
    assert_eq!(said(&mut a).unwrap().generation, Generation(2));
    assert_eq!(said(&mut b).unwrap().generation, Generation(2));
    assert_eq!(world.refused(again(member("c"), &c)), GroupError::GroupFull);
}

impl World {
    /// While `b` alone has joined, there is still a place; it is left by not asking.
    fn joins_nothing_more(&mut self, id: &str) {
        assert_eq!(self.leave(id), Ok(()));
    }
}

#[test]
fn a_group_that_rebalances_lets_in_whoever_joins_first() {
    let mut world = World::with(Limits {
        members: 2,
        ..Limits::default()
    });
    let ids = [world.id_for("a"), world.id_for("b")];
    let first = world.joins(again(member("a"), &ids[0]));
    let mut b = world.join(again(member("b"), &ids[1]));
    let (_, mut c) = world.enter("c");
    // Two have joined, so the third, though a member, finds the group full and makes room.
    assert_eq!(
        world.refused(again(member("a"), &first.member)),
        GroupError::GroupFull
    );
    assert_eq!(said(&mut b).unwrap().generation, Generation(2));
    assert_eq!(said(&mut c).unwrap().generation, Generation(2));
}

#[test]
fn members_hold_a_bounded_number_of_bytes() {
    let mut world = World::with(Limits {
        group_bytes: 10_000,
        total_member_bytes: 15_000,
        ..Limits::default()
    });
    let heavy = |group: &str, bytes: usize| Join {
        group: group.to_owned(),
        id_required: false,
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: vec![0; bytes].into(),
        }],
        ..member("a")
    };
    assert_eq!(world.refused(heavy("one", 10_000)), GroupError::GroupFull);
    let one = world.joins(heavy("one", 8_000));
    assert_eq!(
        world.refused(heavy("two", 8_000)),
        GroupError::GroupFull,
        "all groups together"
    );
    // The same member again takes no more than it did.
    assert_eq!(
        world
            .joins(again(heavy("one", 9_000), &one.member))
            .generation,
        Generation(2)
    );
    assert!(
        world.groups.member_bytes <= 10_000,
        "{}",
        world.groups.member_bytes
    );
}

#[test]
fn an_assignment_that_is_too_large_is_refused_and_the_group_tries_again() {
    let mut world = World::with(Limits {
        group_bytes: 5_000,
        ..Limits::default()
    });
    let (id, mut answer) = world.enter("a");
    let joined = said(&mut answer).unwrap();
    let refused = said(&mut world.sync(&joined, &[(&id, &"x".repeat(5_000))]));
    assert_eq!(refused, Err(GroupError::AssignmentTooLarge));
    assert_eq!(world.beat(&joined), Err(GroupError::RebalanceInProgress));
    let joined = world.joins(again(member("a"), &id));
    assert_eq!(
        said(&mut world.sync(&joined, &[(&id, "0")]))
            .unwrap()
            .assignment,
        "0"
    );
}

#[test]
fn there_is_a_largest_number_of_groups_and_those_that_hold_nothing_give_way() {
    let mut world = World::with(Limits {
        groups: 2,
        ..Limits::default()
    });
    let of = |group: &str| Join {
        group: group.to_owned(),
        id_required: false,
        ..member("a")
    };
    let one = world.joins(of("one"));
    world.joins(of("two"));
    assert_eq!(world.refused(of("three")), GroupError::GroupFull);
    let leaver = Leaver {
        member: one.member,
        ..Leaver::default()
    };
    world.groups.leave("one", &[leaver], world.now).unwrap()[0].unwrap();
    world.joins(of("three"));
    assert!(world.groups.describe("one").is_none());
}

#[test]
fn ids_timeouts_and_protocols_are_checked() {
    let mut world = World::new();
    let empty = Join {
        group: String::new(),
        ..member("a")
    };
    assert_eq!(world.refused(empty), GroupError::InvalidGroupId);
    let long = Join {
        group: "g".repeat(1_025),
        ..member("a")
    };
    assert_eq!(world.refused(long), GroupError::InvalidGroupId);
    let instance = Join {
        instance: Some("i".repeat(1_025)),
        ..member("a")
    };
    assert_eq!(world.refused(instance), GroupError::InvalidRequest);
    for seconds in [0, 5, 1_801] {
        let hasty = Join {
            session_timeout: Duration::from_secs(seconds),
            ..member("a")
        };
        assert_eq!(world.refused(hasty), GroupError::InvalidSessionTimeout);
    }
    let none = Join {
        protocols: Vec::new(),
        ..member("a")
    };
    assert_eq!(world.refused(none), GroupError::InconsistentProtocol);
    let many = Join {
        protocols: vec![protocol("range", &[]); 65],
        ..member("a")
    };
    assert_eq!(world.refused(many), GroupError::InconsistentProtocol);
    assert_eq!(
        world.state(),
        "Dead",
        "a join that is refused makes no group"
    );
}

#[test]
fn a_clients_long_name_is_cut_at_a_character() {
    let mut world = World::new();
    let id = world.id_for(&format!("x{}", "é".repeat(1_000)));
    assert!(
        id.len() <= 1_024 + 37 && id.starts_with("xé"),
        "{}",
        id.len()
    );
    let joined = world.joins(again(member("a"), &id));
    assert_eq!(joined.member, id);
}

#[test]
fn metadata_that_is_no_subscription_is_taken_for_a_subscription_to_everything() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0\0\xff\xff\xff\xff",
        b"\0\0\0\0\0\x02\0\x01a",
        b"\0\0\x7f\xff\xff\xff",
    ] {
        assert_eq!(subscription::topics(bytes), None, "{bytes:?}");
    }
    let bytes = subscription_to(&["a", "b"]);
    assert_eq!(subscription::topics(&bytes), Some(vec!["a", "b"]));
}
