//! `floodmark probe`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::floodmark;

/// A server that gives one answer, whatever it is asked; returns its address.
fn answers(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        connection.write_all(answer.as_bytes()).unwrap();
    });
    address
}

fn probe(address: &str) -> String {
    floodmark(&["probe", &format!("http://{address}/readyz")], &[]).replace(address, "ADDRESS")
}

#[test]
fn an_instance_that_is_ready_ends_with_0_and_its_answer() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"ready\":true}");
    assert_eq!(
        probe(&address),
        "exit code: 0\n----- stdout -----\n{\"ready\":true}\n----- stderr -----\n"
    );
}

#[test]
fn an_instance_that_is_not_ready_ends_with_1_and_says_what_it_waits_for() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"waiting_for\":[\"recovering\"]}";
    assert_eq!(
        probe(&answers(answer)),
        "exit code: 1\n----- stdout -----\n----- stderr -----\n\
         error: http://ADDRESS/readyz answers 503: {\"ready\":false,\"waiting_for\":[\"recovering\"]}\n"
    );
}

#[test]
fn a_server_of_another_kind_is_not_taken_for_an_instance() {
    let said = probe(&answers("220 ready\r\n\r\n"));
    assert!(said.starts_with("exit code: 1"), "{said}");
    assert!(said.contains("does not speak HTTP"), "{said}");
}

#[test]
fn where_nobody_listens_it_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let said = probe(&address);
    assert!(said.starts_with("exit code: 1"), "{said}");
    assert!(
        said.contains("asking http://ADDRESS/readyz: connecting to ADDRESS"),
        "{said}"
    );
}
