//! Members with a `group.instance.id` (KIP-345).

use super::*;

fn instance(name: &str) -> Join {
    Join {
        instance: Some(name.to_owned()),
        ..member("client")
    }
}

fn claim_of<'a>(joined: &'a Joined, instance: &'a str) -> Claim<'a> {
    Claim {
        instance: Some(instance),
        ..claim(joined)
    }
}

/// A stable group of two static members, `one` and `two`.
fn pair() -> (World, Joined, Joined) {
    let mut world = World::new();
    let one = world.joins(instance("one"));
    let mut two = world.join(instance("two"));
    let one = world.joins(again(instance("one"), &one.member));
    let two = said(&mut two).unwrap();
    let parts = [(&*one.member, "1"), (&*two.member, "2")];
    said(&mut world.sync(&one, &parts)).unwrap();
    said(&mut world.sync(&two, &[])).unwrap();
    (world, one, two)
}

#[test]
fn a_static_member_joins_at_once_under_an_id_made_of_its_instance() {
    let mut world = World::new();
    let joined = world.joins(instance("one"));
    assert!(joined.member.starts_with("one-"), "{}", joined.member);
    assert_eq!(joined.members[0].instance.as_deref(), Some("one"));
}

#[test]
fn a_static_member_that_restarts_takes_its_place_without_a_rebalance() {
    let (mut world, one, two) = pair();
    let back = world.joins(instance("two"));
    assert_ne!(back.member, two.member);
    assert_eq!(
        (back.generation, &back.leader),
        (two.generation, &one.member)
    );
    assert_eq!(world.state(), "Stable");
    assert_eq!(said(&mut world.sync(&back, &[])).unwrap().assignment, "2");
    assert_eq!(world.beat(&one), Ok(()));
    assert_eq!(
        world.groups.heartbeat(&claim_of(&back, "two"), world.now),
        Ok(())
    );
}

#[test]
fn the_older_holder_of_an_instance_id_is_fenced() {
    let (mut world, _, two) = pair();
    let back = world.joins(instance("two"));
    let now = world.now;
    let old = claim_of(&two, "two");
    assert_eq!(
        world.groups.heartbeat(&old, now),
        Err(GroupError::FencedInstance)
    );
    assert_eq!(
        said(&mut world.groups.sync(&old, Sync::default(), now)),
        Err(GroupError::FencedInstance)
    );
    assert_eq!(
        world.refused(again(instance("two"), &two.member)),
        GroupError::FencedInstance
    );
    let leaver = Leaver {
        member: two.member.clone(),
        instance: Some("two".to_owned()),
        reason: None,
    };
    let left = world.groups.leave(GROUP, &[leaver], now).unwrap();
    assert_eq!(left, [Err(GroupError::FencedInstance)]);
    assert_eq!(world.groups.heartbeat(&claim_of(&back, "two"), now), Ok(()));
    // Without its instance id it is just unknown.
    assert_eq!(world.beat(&two), Err(GroupError::UnknownMember));
}

#[test]
fn a_holder_that_waits_is_fenced_by_the_one_that_takes_its_place() {
    let (mut world, one, two) = pair();
    let mut waiting = world.join(Join {
        protocols: vec![protocol("range", &["other"])],
        ..again(instance("two"), &two.member)
    });
    let mut back = world.join(instance("two"));
    assert_eq!(
        said(&mut waiting).unwrap_err().error,
        GroupError::FencedInstance
    );
    assert!(waits(&mut back));
    world.joins(again(instance("one"), &one.member));
    assert_eq!(said(&mut back).unwrap().generation, Generation(3));
}

#[test]
fn a_leader_that_restarts_is_told_to_keep_the_assignment() {
    let (mut world, one, _) = pair();
    let back = world.joins(instance("one"));
    assert!(back.skip_assignment);
    assert_eq!((&back.leader, back.members.len()), (&back.member, 2));
    assert_eq!(said(&mut world.sync(&back, &[])).unwrap().assignment, "1");
    // An older client can't be told, so it is not told that it leads.
    let old_client = world.joins(Join {
        can_skip_assignment: false,
        ..instance("one")
    });
    assert!(!old_client.skip_assignment && old_client.members.is_empty());
    assert_ne!(old_client.leader, old_client.member);
    assert_ne!(one.member, old_client.member);
}

#[test]
fn a_restart_while_the_leader_assigns_begins_the_rebalance_again() {
    let (mut world, one, two) = pair();
    let mut first = world.join(again(instance("one"), &one.member));
    let second = world.joins(again(instance("two"), &two.member));
    said(&mut first).unwrap();
    let mut waiting = world.sync(&second, &[]);
    let mut back = world.join(instance("two"));
    assert_eq!(said(&mut waiting), Err(GroupError::FencedInstance));
    assert_eq!(world.state(), "PreparingRebalance");
    let leader = world.joins(again(instance("one"), &one.member));
    assert_eq!(said(&mut back).unwrap().generation, leader.generation);
}

#[test]
fn a_restart_with_another_protocol_rebalances() {
    let mut world = World::new();
    let both = |first: &str, second: &str| Join {
        protocols: vec![protocol(first, &["events"]), protocol(second, &["events"])],
        ..instance("one")
    };
    let one = world.joins(both("range", "sticky"));
    said(&mut world.sync(&one, &[])).unwrap();
    let back = world.joins(both("sticky", "range"));
    assert_eq!(back.protocol.as_deref(), Some("sticky"));
    assert_eq!(back.generation, Generation(2));
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_expires() {
    let (mut world, one, _) = pair();
    let long = Join {
        session_timeout: Duration::from_secs(1_000),
        ..instance("two")
    };
    let two = world.joins(long);
    for _ in 0..60 {
        world.pass(Duration::from_secs(5));
        assert_eq!(world.beat(&one), Ok(()));
    }
    assert_eq!(world.beat(&two), Ok(()));
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance_id() {
    let (mut world, one, _) = pair();
    let by_name = |name: &str| Leaver {
        instance: Some(name.to_owned()),
        ..Leaver::default()
    };
    let left = world
        .groups
        .leave(GROUP, &[by_name("two"), by_name("nobody")], world.now);
    assert_eq!(left.unwrap(), [Ok(()), Err(GroupError::UnknownMember)]);
    assert_eq!(world.beat(&one), Err(GroupError::RebalanceInProgress));
}

#[test]
fn an_instance_id_that_the_group_does_not_know_is_an_unknown_member() {
    let (mut world, one, _) = pair();
    let now = world.now;
    let claim = claim_of(&one, "nobody");
    assert_eq!(
        world.groups.heartbeat(&claim, now),
        Err(GroupError::UnknownMember)
    );
    assert_eq!(
        world.refused(again(instance("nobody"), &one.member)),
        GroupError::UnknownMember
    );
}
