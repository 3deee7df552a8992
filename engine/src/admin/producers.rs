//! Named producers as they travel through the socket.

use crate::log::codec::{Put, Reader};
use crate::producer::ProducerInfo;

pub(crate) fn put_producer(target: &mut Vec<u8>, info: &ProducerInfo) {
    target.put_bytes(info.name.as_bytes());
    target.put_u32(info.id);
    target.put_u32(info.epoch);
}

pub(crate) fn take_producer(reader: &mut Reader<'_>) -> Option<ProducerInfo> {
    Some(ProducerInfo {
        name: std::str::from_utf8(reader.bytes()?).ok()?.to_owned(),
        id: reader.u32()?,
        epoch: reader.u32()?,
    })
}
