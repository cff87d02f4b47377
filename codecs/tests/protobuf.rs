//! Our protobuf against an independent implementation: what prost writes we read, what we write prost reads, and damage
//! is not read in another way than by prost.

#![allow(clippy::unwrap_used)]

use bytes::{Buf, BufMut};
use codecs::proto::{Field, Message, MessageWriter, Value, WireError, WireFault};
use proptest::prelude::*;
use prost::{
    Message as _,
    encoding::{self, DecodeContext, WireType},
};

#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    number: u64,
    text: String,
    blob: Vec<u8>,
    packed: Vec<u64>,
    listed: Vec<u64>,
    double: f64,
    fixed: u32,
    nodes: Vec<Node>,
}

/// The largest field number.
const NODES: u32 = 536_870_911;

/// By hand: numbers come packed and one by one, and the derive macro has one of the two for a field.
impl prost::Message for Node {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::uint64::encode(1, &self.number, buf);
        encoding::string::encode(2, &self.text, buf);
        encoding::bytes::encode(3, &self.blob, buf);
        encoding::uint64::encode_packed(4, &self.packed, buf);
        encoding::uint64::encode_repeated(5, &self.listed, buf);
        encoding::double::encode(6, &self.double, buf);
        encoding::fixed32::encode(7, &self.fixed, buf);
        for node in &self.nodes {
            encoding::message::encode(NODES, node, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        match tag {
            1 => encoding::uint64::merge(wire, &mut self.number, buf, context),
            2 => encoding::string::merge(wire, &mut self.text, buf, context),
            3 => encoding::bytes::merge(wire, &mut self.blob, buf, context),
            4 => encoding::uint64::merge_repeated(wire, &mut self.packed, buf, context),
            5 => encoding::uint64::merge_repeated(wire, &mut self.listed, buf, context),
            6 => encoding::double::merge(wire, &mut self.double, buf, context),
            7 => encoding::fixed32::merge(wire, &mut self.fixed, buf, context),
            NODES => encoding::message::merge_repeated(wire, &mut self.nodes, buf, context),
            _ => encoding::skip_field(wire, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        encoding::uint64::encoded_len(1, &self.number)
            + encoding::string::encoded_len(2, &self.text)
            + encoding::bytes::encoded_len(3, &self.blob)
            + encoding::uint64::encoded_len_packed(4, &self.packed)
            + encoding::uint64::encoded_len_repeated(5, &self.listed)
            + encoding::double::encoded_len(6, &self.double)
            + encoding::fixed32::encoded_len(7, &self.fixed)
            + self.nodes.iter().map(|node| encoding::message::encoded_len(NODES, node)).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn write(node: &Node, w: &mut MessageWriter<'_, Vec<u8>>) {
    w.varint(1, node.number).text(2, &node.text).bytes(3, &node.blob).packed(4, node.packed.iter().copied());
    for number in &node.listed {
        w.varint(5, *number);
    }
    w.fixed64(6, node.double.to_bits()).fixed32(7, node.fixed);
    for inner in &node.nodes {
        w.message(NODES, |w| write(inner, w));
    }
}

fn read(message: Message<'_>) -> Result<Node, WireError> {
    let mut node = Node::default();
    for field in message.fields() {
        let field: Field<'_> = field?;
        match (field.number, field.value) {
            (1, Value::Varint(number)) => node.number = number,
            (2, Value::Bytes(_)) => node.text = field.text().unwrap().into_owned(),
            (3, Value::Bytes(blob)) => node.blob = blob.to_vec(),
            (4, _) => node.packed.extend(field.varints().collect::<Result<Vec<_>, _>>()?),
            (5, _) => node.listed.extend(field.varints().collect::<Result<Vec<_>, _>>()?),
            (6, Value::Fixed64(bits)) => node.double = f64::from_bits(bits),
            (7, Value::Fixed32(fixed)) => node.fixed = fixed,
            (NODES, _) => node.nodes.extend(field.message()?.map(read).transpose()?),
            _ => {}
        }
    }
    Ok(node)
}

fn node() -> impl Strategy<Value = Node> {
    let numbers = || prop::collection::vec(any::<u64>(), 0..4);
    let text = prop_oneof!["[a-zé茶]{0,8}", "[a-z]{120,140}"];
    let leaf = (
        any::<u64>(),
        text,
        prop::collection::vec(any::<u8>(), 0..9),
        numbers(),
        numbers(),
        any::<i32>(),
        any::<u32>(),
    )
        .prop_map(|(number, text, blob, packed, listed, double, fixed)| Node {
            number,
            text,
            blob,
            packed,
            listed,
            double: f64::from(double) / 8.0,
            fixed,
            nodes: Vec::new(),
        });
    leaf.prop_recursive(4, 24, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(node, nodes)| Node { nodes, ..node })
    })
}

proptest! {
    #[test]
    fn both_say_the_same(node in node()) {
        prop_assert_eq!(read(Message::new(&node.encode_to_vec())).unwrap(), node.clone());
        let mut ours = Vec::new();
        write(&node, &mut MessageWriter::new(&mut ours));
        prop_assert_eq!(Node::decode(&ours[..]).unwrap(), node);
    }

    #[test]
    fn damage_means_the_same_to_both(node in node(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = node.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
        }
        // What prost makes sense of, so do we, but for groups, which it skips.
        if let Ok(theirs) = Node::decode(&bytes[..]) {
            match read(Message::new(&bytes)) {
                Ok(ours) => prop_assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec()),
                Err(error) => prop_assert!(matches!(error.fault, WireFault::BadWireType(3)), "{}", error),
            }
        }
    }
}
