//! Messages survive the way there and back, and bad bytes get an error that names frame and field.

use practice::wire::{
    Action, ClientMessage, Corpse, Effect, Frames, Item, Judged, MAX_CLIENT_FRAME, Place,
    ServerMessage, State, Verdict, frame,
};
use random::Rng;

use crate::{IN_HAND, pack};

fn client_messages() -> Vec<ClientMessage> {
    let tile = Place::Map { x: 32097, y: 32219, z: 7 };
    vec![
        ClientMessage::Enter { seed: u64::MAX, name: "with".to_owned() },
        ClientMessage::Join { seed: 2, name: "six".to_owned() },
        ClientMessage::Ping,
        ClientMessage::Act(Action::Say("adura vita".to_owned())),
        ClientMessage::Act(Action::Move { from: IN_HAND, item: 3264, to: pack(0xFF), count: 1 }),
        ClientMessage::Act(Action::Use { from: tile, item: 4286, window: 1 }),
        ClientMessage::Act(Action::UseWith { from: pack(7), item: 3483, to: tile, to_item: 4597 }),
    ]
}

fn server_messages() -> Vec<ServerMessage> {
    let item = Item { id: 3031, count: 100 };
    let corpse = |open| Some(Corpse { open, left_ms: 12_000, items: vec![item; 3] });
    let state =
        State { mana: 500, fed_ms: 1, hand: Some(item), backpack: vec![item; 200], corpse: None };
    vec![
        ServerMessage::Hello { time_us: 1 << 40 },
        ServerMessage::Verdict(Judged {
            n: 17,
            time_us: 5,
            verdict: Verdict::WrongItem,
            effects: vec![Effect::Loot, Effect::WeaponLost],
            frame: vec![0x96, 1, 1, 0, b'x'],
        }),
        ServerMessage::State(State::default()),
        ServerMessage::State(State { corpse: corpse(false), ..state.clone() }),
        ServerMessage::State(State { corpse: corpse(true), ..state }),
        ServerMessage::Error("because".to_owned()),
        ServerMessage::Joined { time_us: 1 << 40, connection: 7 },
        ServerMessage::Pong,
    ]
}

#[test]
fn client_messages_go_there_and_back() {
    for message in client_messages() {
        assert_eq!(ClientMessage::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn server_messages_go_there_and_back() {
    for message in server_messages() {
        assert_eq!(ServerMessage::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn the_bytes_are_those_of_the_protocol() {
    let hex = |message: &ClientMessage| {
        message.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let all: Vec<_> = client_messages().iter().map(hex).collect();
    assert_eq!(
        all,
        [
            "0a0403ffffffffffffffff040077697468",
            "0b040302000000000000000300736978",
            "1e",
            "96010a0061647572612076697461",
            "78ffff060000c00c00ffff4000ff01",
            "82617ddb7d07be100001",
            "83ffff4000079b0d07617ddb7d07f51100",
        ]
    );
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    for message in client_messages() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert!(
                ClientMessage::decode(&bytes[..length]).is_err(),
                "{message:?} cut to {length}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(ClientMessage::decode(&longer).is_err(), "{message:?}");
    }
    for message in server_messages() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert!(
                ServerMessage::decode(&bytes[..length]).is_err(),
                "{message:?} cut to {length}"
            );
        }
    }
}

#[test]
fn errors_name_frame_and_field() {
    let error = |bytes: &[u8]| ClientMessage::decode(bytes).unwrap_err().to_string();
    let cases: [(&[u8], &str); 13] = [
        (&[], "client message: first byte is cut off"),
        (&[0x14], "client message: first byte cannot be 0x14"),
        (&[0x0A, 0x03, 0x03], "enter (0x0a): version cannot be 0x303"),
        (&[0x0B, 0x04, 0x03], "join (0x0b): seed is cut off"),
        (&[0x1E, 0], "ping (0x1e): last field is followed by 1 bytes too many"),
        (&[0x96, 2, 1, 0, b'x'], "say (0x96): kind cannot be 0x2"),
        (&[0x96, 1, 0, 0], "say (0x96): text is 0 bytes long, not 1 to 200"),
        (&[0x96, 1, 0xC9, 0], "say (0x96): text is 201 bytes long, not 1 to 200"),
        (&[0x96, 1, 1, 0, 0x1B], "say (0x96): text is not printable ASCII"),
        (&[0x96, 1, 1, 0, b'x', 0, 0], "say (0x96): last field is followed by 2 bytes too many"),
        (&[0x78, 0xFF, 0xFF, 11, 0, 0], "move thing (0x78): from cannot be 0xb"),
        (&[0x78, 0xFF, 0xFF, 0x40, 0, 3, 1, 0, 2], "move thing (0x78): stack cannot be 0x2"),
        (&[0x82, 1, 0, 1, 0, 16], "use item (0x82): from cannot be 0x10"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(error(bytes), expected);
    }
}

#[test]
fn noise_never_panics() {
    let mut rng = Rng::new(3);
    for _ in 0..100_000 {
        let length = rng.range(0, 40);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = [0x0A, 0x0B, 0x0C, 0x0D, 0x78, 0x82, 0x83, 0x96][usize::from(*first % 8)];
        }
        let _ = ServerMessage::decode(&bytes);
        if let Ok(message) = ClientMessage::decode(&bytes) {
            assert_eq!(ClientMessage::decode(&message.encode()), Ok(message));
        }
    }
}

#[test]
fn frames_come_whole_out_of_any_pieces() {
    let bytes: Vec<u8> = client_messages().iter().flat_map(|m| frame(&m.encode())).collect();
    for size in 1..bytes.len() {
        let mut frames = Frames::new(MAX_CLIENT_FRAME);
        let mut got = Vec::new();
        for piece in bytes.chunks(size) {
            frames.push(piece);
            while let Some(frame) = frames.next().unwrap() {
                got.push(ClientMessage::decode(&frame).unwrap());
            }
        }
        assert_eq!(got, client_messages());
    }
}

#[test]
fn an_empty_or_oversized_frame_is_refused_by_its_length_alone() {
    for (length, limit) in [(0_u16, 300), (301, 300), (0xFFFF, 300)] {
        let mut frames = Frames::new(limit);
        frames.push(&length.to_le_bytes());
        let error = frames.next().unwrap_err().to_string();
        assert_eq!(error, format!("frame: length is {length} bytes long, not 1 to 300"));
    }
}
