//! What handles stand for.

use crate::consumer::ConsumerObject;
use crate::engine_calls::EngineObject;
use crate::member::MemberObject;
use crate::options::OptionsObject;
use crate::queue::QueueObject;
use crate::records::RecordsObject;
use crate::table::Table;
use crate::text::TextObject;
use crate::transaction::TransactionObject;

/// All handles of the process.
pub(crate) static TABLE: Table<Object> = Table::new();

/// A kind of object: its handle's type in C, its number in a handle, and what it is called in messages.
pub(crate) trait Kind: Sized {
    type Handle;
    const KIND: u8;
    const NAME: &'static str;
    fn of(object: &Object) -> Option<&Self>;
    fn into_object(self) -> Object;
}

/// Options of anything, by their names.
#[allow(non_camel_case_types)]
pub struct ringlane_options {
    _private: [u8; 0],
}

/// A directory that is open.
#[allow(non_camel_case_types)]
pub struct ringlane_engine {
    _private: [u8; 0],
}

/// A topic.
#[allow(non_camel_case_types)]
pub struct ringlane_topic {
    _private: [u8; 0],
}

/// Sends records.
#[allow(non_camel_case_types)]
pub struct ringlane_producer {
    _private: [u8; 0],
}

/// Where the ends of asynchronous calls arrive.
#[allow(non_camel_case_types)]
pub struct ringlane_queue {
    _private: [u8; 0],
}

/// Reads partitions.
#[allow(non_camel_case_types)]
pub struct ringlane_consumer {
    _private: [u8; 0],
}

/// A member of a group.
#[allow(non_camel_case_types)]
pub struct ringlane_member {
    _private: [u8; 0],
}

/// Records that were polled.
#[allow(non_camel_case_types)]
pub struct ringlane_records {
    _private: [u8; 0],
}

/// A transaction.
#[allow(non_camel_case_types)]
pub struct ringlane_transaction {
    _private: [u8; 0],
}

/// A text that the library made.
#[allow(non_camel_case_types)]
pub struct ringlane_text {
    _private: [u8; 0],
}

macro_rules! objects {
    ($( $handle:ident = $number:literal, $variant:ident($object:ty), $name:literal; )*) => {
        $( impl Kind for $object {
            type Handle = $handle;
            const KIND: u8 = $number;
            const NAME: &'static str = $name;

            #[inline]
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(object) => Some(object),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$variant(Box::new(self))
            }
        } )*

        /// An object of the application's.
        pub(crate) enum Object {
            $( $variant(Box<$object>), )*
        }
    };
}

objects! {
    ringlane_options = 1, Options(OptionsObject), "options";
    ringlane_engine = 2, Engine(EngineObject), "engine";
    ringlane_topic = 3, Topic(engine::Topic), "topic";
    ringlane_producer = 4, Producer(engine::Producer), "producer";
    ringlane_queue = 5, Queue(QueueObject), "queue";
    ringlane_consumer = 6, Consumer(ConsumerObject), "consumer";
    ringlane_member = 7, Member(MemberObject), "member";
    ringlane_records = 8, Records(RecordsObject), "records";
    ringlane_transaction = 9, Transaction(TransactionObject), "transaction";
    ringlane_text = 10, Text(TextObject), "text";
}
