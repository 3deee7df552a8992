// The C ABI of include/ringlane.h as Python types, thinly. What is pleasant about the package is in the Python files
// beside this one; here is what has to be fast, or has to own memory of the library.
//
// Invariants:
// - Only the limited API of Python 3.11 is used: one wheel serves every later version.
// - The GIL is released around each call that can block, wait or flush. What such a call reads is kept alive by
//   references of this file, never by the caller's good will.
// - A handle is a number that the library checks: one that another thread frees meanwhile is an error, and no crash.
// - An object that waits for an event stands in a slot of its queue, and the event brings the slot's ticket. The queue
//   owns one reference to it until the event has come, or it is forgotten; a ticket that was given up finds nothing.
// - Memory of a polled batch is reached through buffers alone that hold the batch. It is freed when the batch was
//   released and the last of these is gone.
// - No thread of the library ever comes here.

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <structmember.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ringlane.h"

// Events that are taken out of a queue at once. Less than the errors that a queue keeps, so each has its message.
#define EVENTS_MAX 512
// How long the main thread waits before it looks for signals, such as Ctrl-C.
#define SIGNAL_LOOK_MS 50
// No slot, and the ticket of none.
#define NO_SLOT UINT32_MAX
#define NO_TICKET UINT64_MAX

// ----- what the Python layer gives once -----

// make_error(status, flags, system_error, details, message) -> RinglaneError
static PyObject *make_error;
// asyncio.InvalidStateError and that of concurrent.futures: somebody cancelled what an event ends.
static PyObject *invalid_state;
static unsigned long main_thread;
static PyObject *text_set_result, *text_set_exception, *text_total_seconds, *text_timestamp;
static PyObject *record_type, *new_record_type, *receipt_type, *view_type, *slice_type, *batch_type;
static PyObject *engine_type, *topic_type, *producer_type, *consumer_type, *member_type, *transaction_type, *queue_type;

// ----- errors -----

static void say(ringlane_error *error, ringlane_status status, const char *what, const char *rest) {
    memset(error, 0, sizeof *error);
    error->status = status;
    // As the library has them.
    error->flags = status == RINGLANE_ERROR_CLOSED ? RINGLANE_FATAL : 0;
    error->flags |= status == RINGLANE_ERROR_IN_USE ? RINGLANE_RETRIABLE : 0;
    PyOS_snprintf(error->message, RINGLANE_MESSAGE_BYTES, "%s%s", what, rest);
}

// The exception for an error of the library; NULL with an exception set, if there is no memory.
static PyObject *exception_of(const ringlane_error *error) {
    ringlane_error closed;
    if (error->status == RINGLANE_ERROR_DEAD_HANDLE) {
        // Handles die here in one way only: another thread closed the object after this call had looked at it.
        say(&closed, RINGLANE_ERROR_CLOSED, "another thread has just closed it", "");
        error = &closed;
    }
    return PyObject_CallFunction(make_error, "iIi(KKKK)s", (int)error->status, (unsigned int)error->flags,
                                 (int)error->system_error, (unsigned long long)error->details[0],
                                 (unsigned long long)error->details[1], (unsigned long long)error->details[2],
                                 (unsigned long long)error->details[3], error->message);
}

// Raises an error; `done` is how many of several things were done before it, or -1.
static PyObject *raise_done(const ringlane_error *error, Py_ssize_t done) {
    PyObject *exception = exception_of(error);
    if (exception == NULL) {
        return NULL;
    }
    if (done >= 0) {
        PyObject *count = PyLong_FromSsize_t(done);
        if (count == NULL || PyObject_SetAttrString(exception, "done", count) < 0) {
            PyErr_Clear();
        }
        Py_XDECREF(count);
    }
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
    return NULL;
}

static PyObject *raise_error(const ringlane_error *error) {
    return raise_done(error, -1);
}

// ----- handles -----

typedef ringlane_status (*free_function)(void *, ringlane_error *);

// What all objects with a handle begin with.
typedef struct {
    PyObject_HEAD
    // NULL: it was closed.
    void *handle;
    // The process that made it: a child of fork has no say in it.
    pid_t process;
    // A topic's name; what else an object wants to keep.
    PyObject *extra;
} Handle;

static Handle *handle_new(PyObject *type, void *handle) {
    Handle *self = PyObject_New(Handle, (PyTypeObject *)type);
    if (self != NULL) {
        self->handle = handle;
        self->process = getpid();
        self->extra = NULL;
    }
    return self;
}

// The object's handle; NULL with an exception, if it was closed.
static void *handle_in(PyObject *object, const char *what) {
    void *handle = ((Handle *)object)->handle;
    if (handle == NULL) {
        ringlane_error error;
        say(&error, RINGLANE_ERROR_CLOSED, what, " is closed");
        raise_error(&error);
    }
    return handle;
}

// The handle of an argument that has to be of a type.
static void *handle_of(PyObject *object, PyObject *type, const char *what) {
    if (!PyObject_TypeCheck(object, (PyTypeObject *)type)) {
        PyErr_Format(PyExc_TypeError, "expected %s of this package, not %R", what, (PyObject *)Py_TYPE(object));
        return NULL;
    }
    return handle_in(object, what);
}

// Frees a handle. In a child of fork it is only let go of.
static ringlane_status handle_free(Handle *self, free_function release, ringlane_error *error) {
    void *handle = self->handle;
    ringlane_status status = RINGLANE_OK;
    if (handle == NULL) {
        return status;
    }
    self->handle = NULL;
    Py_BEGIN_ALLOW_THREADS
    status = release(handle, error);
    Py_END_ALLOW_THREADS
    return status == RINGLANE_ERROR_FORKED || status == RINGLANE_ERROR_DEAD_HANDLE ? RINGLANE_OK : status;
}

// Ends an object; one that was not closed is reported.
static void handle_end(Handle *self, free_function release, const char *leaked) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (self->handle != NULL) {
        PyObject *kind, *value, *trace;
        PyErr_Fetch(&kind, &value, &trace);
        if (leaked != NULL && self->process == getpid()) {
            const char *words = "%s was never closed: close it, or use it in a `with` block";
            if (PyErr_ResourceWarning(NULL, 1, words, leaked) < 0) {
                PyErr_WriteUnraisable(NULL);
            }
        }
        handle_free(self, release, NULL);
        PyErr_Restore(kind, value, trace);
    }
    Py_CLEAR(self->extra);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *handle_closed(PyObject *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(((Handle *)self)->handle == NULL);
}

static PyGetSetDef handle_getset[] = {
    {"closed", handle_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

// ----- arguments -----

static const char *text_of(PyObject *object, const char *name) {
    Py_ssize_t size;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %R", name, (PyObject *)Py_TYPE(object));
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text != NULL && strlen(text) != (size_t)size) {
        PyErr_Format(PyExc_ValueError, "%s must not have a zero in it", name);
        return NULL;
    }
    return text;
}

static int integer_of(PyObject *object, const char *name, int64_t *value) {
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be int, not %R", name, (PyObject *)Py_TYPE(object));
        return -1;
    }
    *value = PyLong_AsLongLong(object);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s does not fit in 64 bits: %R", name, object);
        return -1;
    }
    return 0;
}

static int natural_of(PyObject *object, const char *name, uint64_t *value) {
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be int, not %R", name, (PyObject *)Py_TYPE(object));
        return -1;
    }
    *value = PyLong_AsUnsignedLongLong(object);
    if (*value == (uint64_t)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s must be from 0 to 2**64 - 1, not %R", name, object);
        return -1;
    }
    return 0;
}

// A partition; None is `RINGLANE_ANY_PARTITION`.
static int partition_of(PyObject *object, uint32_t *partition) {
    uint64_t value;
    if (object == Py_None) {
        *partition = RINGLANE_ANY_PARTITION;
        return 0;
    }
    if (natural_of(object, "partition", &value) < 0) {
        return -1;
    }
    if (value >= RINGLANE_ANY_PARTITION) {
        PyErr_Format(PyExc_ValueError, "partition must be below 2**32 - 1, not %R", object);
        return -1;
    }
    *partition = (uint32_t)value;
    return 0;
}

static int narrow_of(PyObject *object, const char *name, uint32_t *value) {
    uint64_t wide;
    if (natural_of(object, name, &wide) < 0) {
        return -1;
    }
    if (wide > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%s must be below 2**32, not %R", name, object);
        return -1;
    }
    *value = (uint32_t)wide;
    return 0;
}

// Seconds as a number, or anything with `method` (timedelta, datetime), in ms.
static int milliseconds_of(PyObject *object, const char *name, PyObject *method, int64_t *value) {
    PyObject *number = NULL;
    if (PyFloat_Check(object) || PyLong_Check(object)) {
        number = object;
        Py_INCREF(number);
    } else {
        number = PyObject_CallMethodObjArgs(object, method, NULL);
        if (number == NULL) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError, "%s must be seconds, or have %U(), not %R", name, method,
                         (PyObject *)Py_TYPE(object));
            return -1;
        }
    }
    double seconds = PyFloat_AsDouble(number);
    Py_DECREF(number);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds > -9e15 && seconds < 9e15)) {
        PyErr_Format(PyExc_ValueError, "%s is out of range: %R", name, object);
        return -1;
    }
    *value = (int64_t)(seconds * 1000.0 + (seconds < 0 ? -0.5 : 0.5));
    return 0;
}

// Bytes of an argument as an object of type bytes, a new reference; NULL stays NULL for None.
static int octets_of(PyObject *object, const char *name, int may_be_text, PyObject **octets) {
    if (object == NULL || object == Py_None) {
        *octets = NULL;
        return 0;
    }
    if (PyBytes_Check(object)) {
        Py_INCREF(object);
        *octets = object;
        return 0;
    }
    if (may_be_text && PyUnicode_Check(object)) {
        *octets = PyUnicode_AsUTF8String(object);
    } else if (PyObject_CheckBuffer(object)) {
        *octets = PyBytes_FromObject(object);
    } else {
        PyErr_Format(PyExc_TypeError, "%s must be bytes%s or None, not %R%s", name, may_be_text ? ", str" : "",
                     (PyObject *)Py_TYPE(object), PyUnicode_Check(object) ? ": encode it" : "");
        return -1;
    }
    return *octets == NULL ? -1 : 0;
}

static ringlane_bytes bytes_in(PyObject *octets) {
    ringlane_bytes bytes = {NULL, 0};
    if (octets != NULL) {
        bytes.data = (const uint8_t *)PyBytes_AsString(octets);
        bytes.size = (size_t)PyBytes_Size(octets);
    }
    return bytes;
}

static int option_set(ringlane_options *options, const char *key, PyObject *value, ringlane_error *error) {
    PyObject *text = NULL;
    if (value == Py_True || value == Py_False) {
        text = PyUnicode_FromString(value == Py_True ? "true" : "false");
    } else if (PyUnicode_Check(value)) {
        text = value;
        Py_INCREF(text);
    } else if (PyLong_Check(value)) {
        text = PyObject_Str(value);
    } else {
        PyErr_Format(PyExc_TypeError, "option %s must be str, int or bool, not %R", key, (PyObject *)Py_TYPE(value));
        return -1;
    }
    const char *said = text == NULL ? NULL : text_of(text, key);
    int result = -1;
    if (said != NULL) {
        if (ringlane_options_set(options, key, said, error) == RINGLANE_OK) {
            result = 0;
        } else {
            raise_error(error);
        }
    }
    Py_XDECREF(text);
    return result;
}

// Options of a dict: text, numbers, bools, and lists of them for what may be said several times. None is left out.
static int options_of(int32_t kind, PyObject *given, ringlane_options **options) {
    ringlane_error error;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    *options = NULL;
    if (given == Py_None) {
        return 0;
    }
    if (!PyDict_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "options must be a dict");
        return -1;
    }
    if (ringlane_options_new(kind, options, &error) != RINGLANE_OK) {
        raise_error(&error);
        return -1;
    }
    while (PyDict_Next(given, &at, &key, &value)) {
        const char *name = text_of(key, "an option's name");
        if (name == NULL) {
            goto failed;
        }
        if (value == Py_None) {
            continue;
        }
        if (PyList_Check(value)) {
            for (Py_ssize_t i = 0; i < PyList_Size(value); i++) {
                if (option_set(*options, name, PyList_GetItem(value, i), &error) < 0) {
                    goto failed;
                }
            }
        } else if (option_set(*options, name, value, &error) < 0) {
            goto failed;
        }
    }
    return 0;
failed:
    ringlane_options_free(*options, NULL);
    *options = NULL;
    return -1;
}

// The content of a text, which is freed.
static PyObject *take_text(ringlane_text *text) {
    const char *data;
    size_t size;
    ringlane_error error;
    PyObject *result = NULL;
    if (ringlane_text_get(text, &data, &size, &error) != RINGLANE_OK) {
        raise_error(&error);
    } else {
        result = PyUnicode_DecodeUTF8(data, (Py_ssize_t)size, "replace");
    }
    ringlane_text_free(text, NULL);
    return result;
}

#define COUNT_ARGUMENTS(expected)                                                                                      \
    if (count != (expected)) {                                                                                         \
        PyErr_Format(PyExc_TypeError, "%s takes %d arguments, not %zd", __func__, (int)(expected), count);             \
        return NULL;                                                                                                   \
    }

// Runs a call of the library without the GIL, and raises its error.
#define CALL(expression)                                                                                               \
    do {                                                                                                               \
        ringlane_status status_;                                                                                       \
        Py_BEGIN_ALLOW_THREADS                                                                                         \
        status_ = (expression);                                                                                        \
        Py_END_ALLOW_THREADS                                                                                           \
        if (status_ != RINGLANE_OK) {                                                                                  \
            return raise_error(&error);                                                                                \
        }                                                                                                              \
    } while (0)

// ----- receipts -----

typedef struct {
    PyObject_HEAD
    ringlane_receipt receipt;
    // The topic's name.
    PyObject *topic;
} Receipt;

static PyObject *receipt_new(const ringlane_receipt *receipt, PyObject *topic) {
    Receipt *self = PyObject_New(Receipt, (PyTypeObject *)receipt_type);
    if (self != NULL) {
        self->receipt = *receipt;
        Py_XINCREF(topic);
        self->topic = topic;
    }
    return (PyObject *)self;
}

static void receipt_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Receipt *)self)->topic);
    PyObject_Free(self);
    Py_DECREF(type);
}

// Receipts of records that went to one topic, as a list.
static PyObject *receipts_from(const ringlane_receipt *receipts, size_t count, PyObject *topic) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *receipt = receipt_new(&receipts[i], topic);
        if (receipt == NULL || PyList_SetItem(list, (Py_ssize_t)i, receipt) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *receipt_offset(PyObject *self, void *closure) {
    const ringlane_receipt *receipt = &((Receipt *)self)->receipt;
    (void)closure;
    if (!(receipt->flags & RINGLANE_RECEIPT_OFFSET)) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(receipt->offset);
}

static PyObject *receipt_flag(PyObject *self, void *flag) {
    return PyBool_FromLong((((Receipt *)self)->receipt.flags & (uint32_t)(uintptr_t)flag) != 0);
}

static PyObject *receipt_id(PyObject *self, void *closure) {
    const ringlane_receipt *receipt = &((Receipt *)self)->receipt;
    (void)closure;
    return Py_BuildValue("(IKI)", (unsigned int)receipt->log, (unsigned long long)receipt->position,
                         (unsigned int)receipt->index);
}

static PyObject *receipt_repr(PyObject *self) {
    const ringlane_receipt *receipt = &((Receipt *)self)->receipt;
    const char *more = receipt->flags & RINGLANE_RECEIPT_DUPLICATE ? ", duplicate" : "";
    if (!(receipt->flags & RINGLANE_RECEIPT_OFFSET)) {
        return PyUnicode_FromFormat("<Receipt partition=%u, delayed%s>", (unsigned int)receipt->partition, more);
    }
    return PyUnicode_FromFormat("<Receipt partition=%u, offset=%llu%s>", (unsigned int)receipt->partition,
                                (unsigned long long)receipt->offset, more);
}

static PyMemberDef receipt_members[] = {
    {"topic", T_OBJECT, offsetof(Receipt, topic), READONLY, NULL},
    {"partition", T_UINT, offsetof(Receipt, receipt.partition), READONLY, NULL},
    {"timestamp_ms", T_LONGLONG, offsetof(Receipt, receipt.timestamp_ms), READONLY, NULL},
    {"producer", T_UINT, offsetof(Receipt, receipt.producer), READONLY, NULL},
    {"epoch", T_UINT, offsetof(Receipt, receipt.epoch), READONLY, NULL},
    {"sequence", T_ULONGLONG, offsetof(Receipt, receipt.sequence), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef receipt_getset[] = {
    {"offset", receipt_offset, NULL, NULL, NULL},
    {"duplicate", receipt_flag, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECEIPT_DUPLICATE},
    {"synced", receipt_flag, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECEIPT_SYNCED},
    {"id", receipt_id, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot receipt_slots[] = {
    {Py_tp_dealloc, receipt_dealloc}, {Py_tp_members, receipt_members}, {Py_tp_getset, receipt_getset},
    {Py_tp_repr, receipt_repr},       {Py_tp_doc, "The proof that a record was taken."},
    {0, NULL},
};

static PyType_Spec receipt_spec = {"ringlane.Receipt", sizeof(Receipt), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, receipt_slots};

// ----- records that are sent -----

// A record as it will be sent. It owns its references; what is absent is NULL.
typedef struct {
    PyObject *value, *key, *tag, *message_id;
    // A tuple of tuples of str and bytes.
    PyObject *headers;
    uint32_t flags, partition;
    int64_t timestamp_ms, visible_ms;
    uint64_t sequence;
} Outgoing;

// The fields in the order in which `send` passes them.
enum { VALUE, KEY, HEADERS, TAG, TIMESTAMP_MS, PARTITION, SEQUENCE, MESSAGE_ID, VISIBLE_AFTER, VISIBLE_AT, FIELDS };

static void outgoing_clear(Outgoing *outgoing) {
    Py_CLEAR(outgoing->value);
    Py_CLEAR(outgoing->key);
    Py_CLEAR(outgoing->tag);
    Py_CLEAR(outgoing->message_id);
    Py_CLEAR(outgoing->headers);
}

// Headers of a mapping, or of pairs, as a tuple of tuples of str and bytes.
static PyObject *headers_of(PyObject *given) {
    PyObject *pairs = NULL, *result = NULL;
    if (PyDict_Check(given)) {
        PyObject *items = PyDict_Items(given);
        if (items != NULL) {
            pairs = PySequence_Tuple(items);
            Py_DECREF(items);
        }
    } else if (PyUnicode_Check(given) || PyBytes_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "headers must be a dict or pairs of str and bytes");
    } else {
        pairs = PySequence_Tuple(given);
    }
    if (pairs == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(pairs);
    result = PyTuple_New(count);
    for (Py_ssize_t i = 0; result != NULL && i < count; i++) {
        PyObject *pair = PyTuple_GetItem(pairs, i), *name = NULL, *value = NULL, *octets = NULL, *entry = NULL;
        if (!PyTuple_Check(pair) && !PyList_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "headers must be a dict or pairs of str and bytes");
        } else if (PySequence_Size(pair) != 2) {
            PyErr_SetString(PyExc_ValueError, "each header must have a name and a value");
        } else {
            name = PySequence_GetItem(pair, 0);
            value = PySequence_GetItem(pair, 1);
        }
        if (name != NULL && value != NULL) {
            if (!PyUnicode_Check(name)) {
                PyErr_Format(PyExc_TypeError, "a header's name must be str, not %R", (PyObject *)Py_TYPE(name));
            } else if (octets_of(value, "a header's value", 0, &octets) == 0) {
                if (octets == NULL) {
                    PyErr_SetString(PyExc_TypeError, "a header's value must be bytes, not None");
                } else {
                    entry = PyTuple_Pack(2, name, octets);
                }
            }
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        Py_XDECREF(octets);
        if (entry == NULL || PyTuple_SetItem(result, i, entry) < 0) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(pairs);
    return result;
}

// Takes the fields of a record; NULL and None are absent.
static int outgoing_set(Outgoing *outgoing, PyObject *const *fields) {
    memset(outgoing, 0, sizeof *outgoing);
#define HAS(field) (fields[field] != NULL && fields[field] != Py_None)
    if (octets_of(fields[VALUE], "value", 0, &outgoing->value) < 0) {
        goto failed;
    }
    if (HAS(KEY) && octets_of(fields[KEY], "key", 0, &outgoing->key) < 0) {
        goto failed;
    }
    if (HAS(HEADERS)) {
        outgoing->headers = headers_of(fields[HEADERS]);
        if (outgoing->headers == NULL) {
            goto failed;
        }
    }
    if (HAS(TAG)) {
        if (!PyUnicode_Check(fields[TAG])) {
            PyErr_Format(PyExc_TypeError, "tag must be str, not %R", (PyObject *)Py_TYPE(fields[TAG]));
            goto failed;
        }
        outgoing->tag = PyUnicode_AsUTF8String(fields[TAG]);
        if (outgoing->tag == NULL) {
            goto failed;
        }
    }
    if (HAS(TIMESTAMP_MS)) {
        outgoing->flags |= RINGLANE_RECORD_TIMESTAMP;
        if (integer_of(fields[TIMESTAMP_MS], "timestamp_ms", &outgoing->timestamp_ms) < 0) {
            goto failed;
        }
    }
    if (HAS(PARTITION)) {
        outgoing->flags |= RINGLANE_RECORD_PARTITION;
        if (partition_of(fields[PARTITION], &outgoing->partition) < 0) {
            goto failed;
        }
    }
    if (HAS(SEQUENCE)) {
        outgoing->flags |= RINGLANE_RECORD_SEQUENCE;
        if (natural_of(fields[SEQUENCE], "sequence", &outgoing->sequence) < 0) {
            goto failed;
        }
    }
    if (HAS(MESSAGE_ID) && octets_of(fields[MESSAGE_ID], "message_id", 1, &outgoing->message_id) < 0) {
        goto failed;
    }
    if (HAS(VISIBLE_AFTER) && HAS(VISIBLE_AT)) {
        PyErr_SetString(PyExc_ValueError, "visible after a time, or at one: give visible_after or visible_at");
        goto failed;
    }
    if (HAS(VISIBLE_AFTER)) {
        outgoing->flags |= RINGLANE_RECORD_VISIBLE_AFTER;
        if (milliseconds_of(fields[VISIBLE_AFTER], "visible_after", text_total_seconds, &outgoing->visible_ms) < 0) {
            goto failed;
        }
    }
    if (HAS(VISIBLE_AT)) {
        outgoing->flags |= RINGLANE_RECORD_VISIBLE_AT;
        if (milliseconds_of(fields[VISIBLE_AT], "visible_at", text_timestamp, &outgoing->visible_ms) < 0) {
            goto failed;
        }
    }
#undef HAS
    return 0;
failed:
    outgoing_clear(outgoing);
    return -1;
}

static size_t outgoing_header_count(const Outgoing *outgoing) {
    return outgoing->headers == NULL ? 0 : (size_t)PyTuple_Size(outgoing->headers);
}

// The record as the library wants it; `headers` has room for all of them. It leads into `outgoing`.
static int outgoing_fill(const Outgoing *outgoing, ringlane_record *record, ringlane_header *headers) {
    memset(record, 0, sizeof *record);
    record->struct_size = sizeof *record;
    record->flags = outgoing->flags;
    record->value = bytes_in(outgoing->value);
    record->key = bytes_in(outgoing->key);
    record->tag = bytes_in(outgoing->tag);
    record->message_id = bytes_in(outgoing->message_id);
    record->timestamp_ms = outgoing->timestamp_ms;
    record->visible_ms = outgoing->visible_ms;
    record->sequence = outgoing->sequence;
    record->partition = outgoing->partition;
    record->header_count = outgoing_header_count(outgoing);
    record->headers = record->header_count == 0 ? NULL : headers;
    for (size_t i = 0; i < record->header_count; i++) {
        PyObject *pair = PyTuple_GetItem(outgoing->headers, (Py_ssize_t)i);
        Py_ssize_t size;
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(pair, 0), &size);
        if (name == NULL) {
            return -1;
        }
        headers[i].name.data = (const uint8_t *)name;
        headers[i].name.size = (size_t)size;
        headers[i].value = bytes_in(PyTuple_GetItem(pair, 1));
    }
    return 0;
}

// What a record takes of the send buffer, about, and never less.
static uint64_t bytes_of(const ringlane_record *record) {
    uint64_t bytes = 64 + record->value.size + record->key.size + record->tag.size + record->message_id.size;
    for (size_t i = 0; i < record->header_count; i++) {
        bytes += 8 + record->headers[i].name.size + record->headers[i].value.size;
    }
    return bytes;
}

// A record with its headers, ready for one call.
typedef struct {
    Outgoing outgoing;
    ringlane_record record;
    ringlane_header few[4];
    ringlane_header *headers;
} Ready;

static void ready_end(Ready *ready) {
    if (ready->headers != ready->few) {
        free(ready->headers);
    }
    outgoing_clear(&ready->outgoing);
}

static int ready_fill(Ready *ready, const Outgoing *outgoing) {
    size_t count = outgoing_header_count(outgoing);
    ready->headers = ready->few;
    if (count > sizeof ready->few / sizeof ready->few[0]) {
        ready->headers = malloc(count * sizeof *ready->headers);
        if (ready->headers == NULL) {
            outgoing_clear(&ready->outgoing);
            PyErr_NoMemory();
            return -1;
        }
    }
    if (outgoing_fill(outgoing, &ready->record, ready->headers) < 0) {
        ready_end(ready);
        return -1;
    }
    return 0;
}

static int ready_begin(Ready *ready, PyObject *const *fields) {
    return outgoing_set(&ready->outgoing, fields) < 0 ? -1 : ready_fill(ready, &ready->outgoing);
}

// The same of a record that was made before, and is there as long as the call.
static int ready_of(Ready *ready, const Outgoing *outgoing) {
    memset(&ready->outgoing, 0, sizeof ready->outgoing);
    return ready_fill(ready, outgoing);
}

// A record for `send_many`; it never changes, so what it leads to is there as long as it is.
typedef struct {
    PyObject_HEAD
    Outgoing outgoing;
} NewRecord;

static PyObject *new_record_make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"value",    "key",      "headers",    "tag",           "timestamp_ms", "partition",
                            "sequence", "message_id", "visible_after", "visible_at", NULL};
    PyObject *fields[FIELDS] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|$OOOOOOOOO:NewRecord", names, &fields[VALUE], &fields[KEY],
                                     &fields[HEADERS], &fields[TAG], &fields[TIMESTAMP_MS], &fields[PARTITION],
                                     &fields[SEQUENCE], &fields[MESSAGE_ID], &fields[VISIBLE_AFTER],
                                     &fields[VISIBLE_AT])) {
        return NULL;
    }
    NewRecord *self = (NewRecord *)PyType_GenericAlloc(type, 0);
    if (self != NULL && outgoing_set(&self->outgoing, fields) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void new_record_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    outgoing_clear(&((NewRecord *)self)->outgoing);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMemberDef new_record_members[] = {
    {"value", T_OBJECT, offsetof(NewRecord, outgoing.value), READONLY, NULL},
    {"key", T_OBJECT, offsetof(NewRecord, outgoing.key), READONLY, NULL},
    {"message_id", T_OBJECT, offsetof(NewRecord, outgoing.message_id), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *new_record_headers(PyObject *self, void *closure) {
    PyObject *headers = ((NewRecord *)self)->outgoing.headers;
    (void)closure;
    return headers == NULL ? PyList_New(0) : PySequence_List(headers);
}

static PyObject *new_record_tag(PyObject *self, void *closure) {
    PyObject *tag = ((NewRecord *)self)->outgoing.tag;
    (void)closure;
    if (tag == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromEncodedObject(tag, "utf-8", "replace");
}

static PyObject *new_record_number(PyObject *self, void *flag) {
    const Outgoing *outgoing = &((NewRecord *)self)->outgoing;
    switch (outgoing->flags & (uint32_t)(uintptr_t)flag) {
    case RINGLANE_RECORD_PARTITION:
        return PyLong_FromUnsignedLong(outgoing->partition);
    case RINGLANE_RECORD_TIMESTAMP:
        return PyLong_FromLongLong(outgoing->timestamp_ms);
    case RINGLANE_RECORD_SEQUENCE:
        return PyLong_FromUnsignedLongLong(outgoing->sequence);
    case RINGLANE_RECORD_VISIBLE_AT:
    case RINGLANE_RECORD_VISIBLE_AFTER:
        return PyLong_FromLongLong(outgoing->visible_ms);
    default:
        Py_RETURN_NONE;
    }
}

static PyGetSetDef new_record_getset[] = {
    {"headers", new_record_headers, NULL, NULL, NULL},
    {"tag", new_record_tag, NULL, NULL, NULL},
    {"partition", new_record_number, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECORD_PARTITION},
    {"timestamp_ms", new_record_number, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECORD_TIMESTAMP},
    {"sequence", new_record_number, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECORD_SEQUENCE},
    {"visible_at_ms", new_record_number, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECORD_VISIBLE_AT},
    {"visible_after_ms", new_record_number, NULL, NULL, (void *)(uintptr_t)RINGLANE_RECORD_VISIBLE_AFTER},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot new_record_slots[] = {
    {Py_tp_new, new_record_make},
    {Py_tp_dealloc, new_record_dealloc},
    {Py_tp_members, new_record_members},
    {Py_tp_getset, new_record_getset},
    {Py_tp_doc, "A record for send_many: its value, and what send takes by name."},
    {0, NULL},
};

static PyType_Spec new_record_spec = {"ringlane.NewRecord", sizeof(NewRecord), 0,
                                      Py_TPFLAGS_DEFAULT, new_record_slots};

// ----- records that were polled -----

typedef struct {
    PyObject_HEAD
    PyObject *topic, *key, *value, *message_id;
    // A tuple of tuples of str and bytes, or NULL: none.
    PyObject *headers;
    // The member that it was handed to, or NULL.
    PyObject *member;
    uint64_t offset, sequence;
    int64_t timestamp_ms;
    uint32_t partition, producer, epoch, flags, delivery_count;
    ringlane_delivery delivery;
} Record;

static PyObject *octets_from(const ringlane_bytes *bytes) {
    return bytes->data == NULL ? NULL : PyBytes_FromStringAndSize((const char *)bytes->data, (Py_ssize_t)bytes->size);
}

// The headers of the record at `index`, those that were added when it was published too: a tuple of tuples of str and
// bytes.
static PyObject *headers_from(ringlane_records *records, size_t index, uint32_t header_count) {
    ringlane_error error;
    ringlane_header few[8], *headers = few;
    size_t room = header_count, count = 0;
    if (room > sizeof few / sizeof few[0] && (headers = malloc(room * sizeof *headers)) == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *result = NULL;
    if (ringlane_records_headers(records, index, headers, sizeof *headers, room, &count, &error) != RINGLANE_OK) {
        raise_error(&error);
    } else {
        count = count < room ? count : room;
        result = PyTuple_New((Py_ssize_t)count);
    }
    for (size_t i = 0; result != NULL && i < count; i++) {
        const ringlane_bytes *name = &headers[i].name, *value = &headers[i].value;
        PyObject *text = PyUnicode_DecodeUTF8((const char *)name->data, (Py_ssize_t)name->size, "replace");
        PyObject *octets = PyBytes_FromStringAndSize((const char *)value->data, (Py_ssize_t)value->size);
        PyObject *pair = text == NULL || octets == NULL ? NULL : PyTuple_Pack(2, text, octets);
        Py_XDECREF(text);
        Py_XDECREF(octets);
        if (pair == NULL || PyTuple_SetItem(result, (Py_ssize_t)i, pair) < 0) {
            Py_CLEAR(result);
        }
    }
    if (headers != few) {
        free(headers);
    }
    return result;
}

// The record at `index` of a batch, which `view` shows.
static PyObject *record_from(ringlane_records *records, size_t index, const ringlane_record_view *view, PyObject *topic,
                             PyObject *member) {
    Record *self = PyObject_New(Record, (PyTypeObject *)record_type);
    if (self == NULL) {
        return NULL;
    }
    Py_INCREF(topic);
    self->topic = topic;
    Py_XINCREF(member);
    self->member = member;
    self->headers = NULL;
    self->key = octets_from(&view->key);
    self->value = octets_from(&view->value);
    self->message_id = octets_from(&view->message_id);
    self->offset = view->offset;
    self->sequence = view->sequence;
    self->timestamp_ms = view->timestamp_ms;
    self->partition = view->partition;
    self->producer = view->producer;
    self->epoch = view->epoch;
    self->flags = view->flags;
    self->delivery_count = view->delivery_count;
    self->delivery = view->delivery;
    if (view->header_count != 0) {
        self->headers = headers_from(records, index, view->header_count);
    }
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void record_dealloc(PyObject *object) {
    Record *self = (Record *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->topic);
    Py_XDECREF(self->key);
    Py_XDECREF(self->value);
    Py_XDECREF(self->message_id);
    Py_XDECREF(self->headers);
    Py_XDECREF(self->member);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *record_headers(PyObject *self, void *closure) {
    PyObject *headers = ((Record *)self)->headers;
    (void)closure;
    return headers == NULL ? PyList_New(0) : PySequence_List(headers);
}

// The value of the first header of the name `tag`.
static PyObject *record_tag(PyObject *self, void *closure) {
    PyObject *headers = ((Record *)self)->headers;
    (void)closure;
    for (Py_ssize_t i = 0; headers != NULL && i < PyTuple_Size(headers); i++) {
        PyObject *pair = PyTuple_GetItem(headers, i);
        if (PyUnicode_CompareWithASCIIString(PyTuple_GetItem(pair, 0), "tag") == 0) {
            return PyUnicode_FromEncodedObject(PyTuple_GetItem(pair, 1), "utf-8", "replace");
        }
    }
    Py_RETURN_NONE;
}

static PyObject *delivery_tuple(const ringlane_delivery *delivery, uint32_t delivery_count) {
    if (delivery_count == 0) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(IKK)", (unsigned int)delivery->place, (unsigned long long)delivery->offset,
                         (unsigned long long)delivery->serial);
}

static PyObject *record_delivery(PyObject *self, void *closure) {
    (void)closure;
    return delivery_tuple(&((Record *)self)->delivery, ((Record *)self)->delivery_count);
}

static PyObject *record_late(PyObject *self, void *closure) {
    (void)closure;
    return PyBool_FromLong((((Record *)self)->flags & RINGLANE_VIEW_LATE) != 0);
}

static PyObject *record_repr(PyObject *object) {
    Record *self = (Record *)object;
    return PyUnicode_FromFormat("<Record %U/%u@%llu key=%R value=%R>", self->topic, (unsigned int)self->partition,
                                (unsigned long long)self->offset, self->key == NULL ? Py_None : self->key,
                                self->value == NULL ? Py_None : self->value);
}

static PyMemberDef record_members[] = {
    {"topic", T_OBJECT, offsetof(Record, topic), READONLY, NULL},
    {"partition", T_UINT, offsetof(Record, partition), READONLY, NULL},
    {"offset", T_ULONGLONG, offsetof(Record, offset), READONLY, NULL},
    {"timestamp_ms", T_LONGLONG, offsetof(Record, timestamp_ms), READONLY, NULL},
    {"key", T_OBJECT, offsetof(Record, key), READONLY, NULL},
    {"value", T_OBJECT, offsetof(Record, value), READONLY, NULL},
    {"message_id", T_OBJECT, offsetof(Record, message_id), READONLY, NULL},
    {"producer", T_UINT, offsetof(Record, producer), READONLY, NULL},
    {"epoch", T_UINT, offsetof(Record, epoch), READONLY, NULL},
    {"sequence", T_ULONGLONG, offsetof(Record, sequence), READONLY, NULL},
    {"delivery_count", T_UINT, offsetof(Record, delivery_count), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef record_getset[] = {
    {"headers", record_headers, NULL, NULL, NULL},   {"tag", record_tag, NULL, NULL, NULL},
    {"delivery", record_delivery, NULL, NULL, NULL}, {"late", record_late, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_dealloc, record_dealloc}, {Py_tp_members, record_members},
    {Py_tp_getset, record_getset},   {Py_tp_repr, record_repr},
    {Py_tp_doc, "A record that was polled."},
    {0, NULL},
};

static PyType_Spec record_spec = {"ringlane.Record", sizeof(Record), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, record_slots};

// The views of a batch, as a list of records; `member` is whom they were handed to, or NULL. Frees the batch.
static PyObject *records_from(ringlane_records *records, PyObject *member) {
    const ringlane_record_view *views;
    size_t stride, count;
    ringlane_error error;
    PyObject *list = NULL, *topic = NULL;
    const uint8_t *topic_data = NULL;
    if (ringlane_records_view(records, &views, &stride, &count, &error) != RINGLANE_OK) {
        raise_error(&error);
    } else {
        list = PyList_New((Py_ssize_t)count);
    }
    for (size_t i = 0; list != NULL && i < count; i++) {
        const ringlane_record_view *view = (const ringlane_record_view *)((const char *)views + i * stride);
        // Records of a topic share its name, mostly at one address.
        if (topic == NULL || view->topic.data != topic_data) {
            Py_XDECREF(topic);
            topic_data = view->topic.data;
            topic = PyUnicode_DecodeUTF8((const char *)topic_data, (Py_ssize_t)view->topic.size, "replace");
        }
        PyObject *record = topic == NULL ? NULL : record_from(records, i, view, topic, member);
        if (record == NULL || PyList_SetItem(list, (Py_ssize_t)i, record) < 0) {
            Py_CLEAR(list);
        }
    }
    Py_XDECREF(topic);
    Py_BEGIN_ALLOW_THREADS
    ringlane_records_free(records, NULL);
    Py_END_ALLOW_THREADS
    return list;
}

// ----- batches whose memory is looked at in place -----

typedef struct {
    PyObject_HEAD
    ringlane_records *handle;
    const ringlane_record_view *views;
    size_t stride, count;
    // Buffers that lead into it.
    size_t exports;
    int is_released;
    // Memoryviews that were given, to be released with it.
    PyObject *given;
    // The member that it was handed to, or NULL.
    PyObject *member;
} Batch;

// One stretch of a batch's bytes.
typedef struct {
    PyObject_HEAD
    Batch *batch;
    ringlane_bytes bytes;
} Slice;

typedef struct {
    PyObject_HEAD
    Batch *batch;
    size_t index;
} View;

static void batch_free_if_unused(Batch *self) {
    if (self->is_released && self->exports == 0 && self->handle != NULL) {
        ringlane_records *handle = self->handle;
        self->handle = NULL;
        self->views = NULL;
        ringlane_records_free(handle, NULL);
    }
}

static PyObject *batch_from(ringlane_records *records, PyObject *member) {
    ringlane_error error;
    Batch *self = PyObject_New(Batch, (PyTypeObject *)batch_type);
    if (self == NULL) {
        ringlane_records_free(records, NULL);
        return NULL;
    }
    self->handle = records;
    self->views = NULL;
    self->count = 0;
    self->exports = 0;
    self->is_released = records == NULL;
    self->given = NULL;
    Py_XINCREF(member);
    self->member = member;
    if (records != NULL &&
        ringlane_records_view(records, &self->views, &self->stride, &self->count, &error) != RINGLANE_OK) {
        raise_error(&error);
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    return (PyObject *)self;
}

static void batch_dealloc(PyObject *object) {
    Batch *self = (Batch *)object;
    PyTypeObject *type = Py_TYPE(object);
    // Nobody leads into it any more: slices hold it.
    self->is_released = 1;
    batch_free_if_unused(self);
    Py_XDECREF(self->given);
    Py_XDECREF(self->member);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *batch_release(PyObject *object, PyObject *unused) {
    Batch *self = (Batch *)object;
    PyObject *given = self->given;
    (void)unused;
    self->given = NULL;
    self->is_released = 1;
    for (Py_ssize_t i = 0; given != NULL && i < PyList_Size(given); i++) {
        PyObject *released = PyObject_CallMethod(PyList_GetItem(given, i), "release", NULL);
        if (released == NULL) {
            // Somebody has a buffer of the memoryview: the batch lives until that is gone.
            PyErr_Clear();
        }
        Py_XDECREF(released);
    }
    Py_XDECREF(given);
    batch_free_if_unused(self);
    Py_RETURN_NONE;
}

static PyObject *batch_enter(PyObject *self, PyObject *unused) {
    (void)unused;
    Py_INCREF(self);
    return self;
}

static PyObject *batch_exit(PyObject *self, PyObject *unused) {
    (void)unused;
    return batch_release(self, NULL);
}

static Py_ssize_t batch_length(PyObject *self) {
    return (Py_ssize_t)((Batch *)self)->count;
}

static PyObject *batch_item(PyObject *object, Py_ssize_t index) {
    Batch *self = (Batch *)object;
    if (index < 0 || (size_t)index >= self->count) {
        PyErr_SetString(PyExc_IndexError, "the batch has fewer records");
        return NULL;
    }
    View *view = PyObject_New(View, (PyTypeObject *)view_type);
    if (view != NULL) {
        Py_INCREF(object);
        view->batch = self;
        view->index = (size_t)index;
    }
    return (PyObject *)view;
}

// All records in their layout, one behind the other, each at a multiple of eight.
static PyObject *batch_packed(PyObject *object, PyObject *unused) {
    Batch *self = (Batch *)object;
    size_t size = 0;
    (void)unused;
    if (self->is_released && self->count > 0) {
        PyErr_SetString(PyExc_ValueError, "the batch was released");
        return NULL;
    }
#define VIEW_AT(i) ((const ringlane_record_view *)((const char *)self->views + (i) * self->stride))
    for (size_t i = 0; i < self->count; i++) {
        size += (VIEW_AT(i)->record.size + 7) & ~(size_t)7;
    }
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    char *at = packed == NULL ? NULL : PyBytes_AsString(packed);
    for (size_t i = 0; at != NULL && i < self->count; i++) {
        const ringlane_bytes *record = &VIEW_AT(i)->record;
        size_t whole = (record->size + 7) & ~(size_t)7;
        memcpy(at, record->data, record->size);
        memset(at + record->size, 0, whole - record->size);
        at += whole;
    }
#undef VIEW_AT
    return packed;
}

static PyMethodDef batch_methods[] = {
    {"packed", batch_packed, METH_NOARGS, NULL},
    {"release", batch_release, METH_NOARGS, NULL},
    {"__enter__", batch_enter, METH_NOARGS, NULL},
    {"__exit__", batch_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_dealloc, batch_dealloc}, {Py_tp_methods, batch_methods},
    {Py_sq_length, batch_length},   {Py_sq_item, batch_item},
    {Py_tp_doc, "Records that were polled, in place: valid until the `with` block ends."},
    {0, NULL},
};

static PyType_Spec batch_spec = {"ringlane.Batch", sizeof(Batch), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, batch_slots};

static int slice_get_buffer(PyObject *object, Py_buffer *buffer, int flags) {
    Slice *self = (Slice *)object;
    if (self->batch->handle == NULL) {
        PyErr_SetString(PyExc_ValueError, "the batch was released");
        return -1;
    }
    if (PyBuffer_FillInfo(buffer, object, (void *)self->bytes.data, (Py_ssize_t)self->bytes.size, 1, flags) < 0) {
        return -1;
    }
    self->batch->exports++;
    return 0;
}

static void slice_release_buffer(PyObject *object, Py_buffer *buffer) {
    Slice *self = (Slice *)object;
    (void)buffer;
    self->batch->exports--;
    batch_free_if_unused(self->batch);
}

static void slice_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((Slice *)object)->batch);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyType_Slot slice_slots[] = {
    {Py_tp_dealloc, slice_dealloc},
    {Py_bf_getbuffer, slice_get_buffer},
    {Py_bf_releasebuffer, slice_release_buffer},
    {0, NULL},
};

static PyType_Spec slice_spec = {"ringlane._native.Slice", sizeof(Slice), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slice_slots};

static const ringlane_record_view *view_in(PyObject *object) {
    View *self = (View *)object;
    Batch *batch = self->batch;
    if (batch->is_released) {
        PyErr_SetString(PyExc_ValueError, "the batch was released");
        return NULL;
    }
    return (const ringlane_record_view *)((const char *)batch->views + self->index * batch->stride);
}

// A memoryview over bytes of a batch; None for no bytes.
static PyObject *memory_of(Batch *batch, const ringlane_bytes *bytes) {
    if (bytes->data == NULL) {
        Py_RETURN_NONE;
    }
    if (batch->given == NULL && (batch->given = PyList_New(0)) == NULL) {
        return NULL;
    }
    Slice *slice = PyObject_New(Slice, (PyTypeObject *)slice_type);
    if (slice == NULL) {
        return NULL;
    }
    Py_INCREF((PyObject *)batch);
    slice->batch = batch;
    slice->bytes = *bytes;
    PyObject *memory = PyMemoryView_FromObject((PyObject *)slice);
    Py_DECREF(slice);
    if (memory != NULL && PyList_Append(batch->given, memory) < 0) {
        Py_CLEAR(memory);
    }
    return memory;
}

enum { VIEW_TOPIC, VIEW_KEY, VIEW_VALUE, VIEW_MESSAGE_ID, VIEW_HEADERS, VIEW_OFFSET, VIEW_TIMESTAMP_MS, VIEW_SEQUENCE,
       VIEW_PARTITION, VIEW_PRODUCER, VIEW_EPOCH, VIEW_DELIVERY_COUNT, VIEW_DELIVERY, VIEW_IS_LATE, VIEW_RECORD };

static PyObject *view_get(PyObject *self, void *closure) {
    const ringlane_record_view *view = view_in(self);
    Batch *batch = ((View *)self)->batch;
    if (view == NULL) {
        return NULL;
    }
    switch ((int)(intptr_t)closure) {
    case VIEW_TOPIC:
        return PyUnicode_DecodeUTF8((const char *)view->topic.data, (Py_ssize_t)view->topic.size, "replace");
    case VIEW_KEY:
        return memory_of(batch, &view->key);
    case VIEW_VALUE:
        return memory_of(batch, &view->value);
    case VIEW_RECORD:
        return memory_of(batch, &view->record);
    case VIEW_MESSAGE_ID:
        return memory_of(batch, &view->message_id);
    case VIEW_HEADERS: {
        if (view->header_count == 0) {
            return PyList_New(0);
        }
        PyObject *headers = headers_from(batch->handle, ((View *)self)->index, view->header_count);
        PyObject *list = headers == NULL ? NULL : PySequence_List(headers);
        Py_XDECREF(headers);
        return list;
    }
    case VIEW_OFFSET:
        return PyLong_FromUnsignedLongLong(view->offset);
    case VIEW_TIMESTAMP_MS:
        return PyLong_FromLongLong(view->timestamp_ms);
    case VIEW_SEQUENCE:
        return PyLong_FromUnsignedLongLong(view->sequence);
    case VIEW_PARTITION:
        return PyLong_FromUnsignedLong(view->partition);
    case VIEW_PRODUCER:
        return PyLong_FromUnsignedLong(view->producer);
    case VIEW_EPOCH:
        return PyLong_FromUnsignedLong(view->epoch);
    case VIEW_DELIVERY_COUNT:
        return PyLong_FromUnsignedLong(view->delivery_count);
    case VIEW_DELIVERY:
        return delivery_tuple(&view->delivery, view->delivery_count);
    default:
        return PyBool_FromLong((view->flags & RINGLANE_VIEW_LATE) != 0);
    }
}

static void view_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((View *)object)->batch);
    PyObject_Free(object);
    Py_DECREF(type);
}

#define VIEW_FIELD(name, number) {name, view_get, NULL, NULL, (void *)(intptr_t)(number)}
static PyGetSetDef view_getset[] = {
    VIEW_FIELD("topic", VIEW_TOPIC),
    VIEW_FIELD("key", VIEW_KEY),
    VIEW_FIELD("value", VIEW_VALUE),
    VIEW_FIELD("message_id", VIEW_MESSAGE_ID),
    VIEW_FIELD("headers", VIEW_HEADERS),
    VIEW_FIELD("offset", VIEW_OFFSET),
    VIEW_FIELD("timestamp_ms", VIEW_TIMESTAMP_MS),
    VIEW_FIELD("sequence", VIEW_SEQUENCE),
    VIEW_FIELD("partition", VIEW_PARTITION),
    VIEW_FIELD("producer", VIEW_PRODUCER),
    VIEW_FIELD("epoch", VIEW_EPOCH),
    VIEW_FIELD("delivery_count", VIEW_DELIVERY_COUNT),
    VIEW_FIELD("delivery", VIEW_DELIVERY),
    VIEW_FIELD("late", VIEW_IS_LATE),
    VIEW_FIELD("record", VIEW_RECORD),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_getset, view_getset},
    {Py_tp_doc, "A record of a batch, in place."},
    {0, NULL},
};

static PyType_Spec view_spec = {"ringlane.RecordView", sizeof(View), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};

// ----- queues -----

typedef struct {
    PyObject *object;
    // The name of the topic that its record goes to, or NULL.
    PyObject *topic;
    // What its records take, about.
    uint64_t bytes;
    // The next free slot, where this one is free.
    uint32_t next;
    // How often it was used: the upper half of its ticket.
    uint32_t uses;
} Slot;

typedef struct {
    PyObject_HEAD
    // As in every object with a handle.
    void *handle;
    pid_t process;
    PyObject *extra;
    int fd;
    int is_draining;
    Slot *slots;
    uint32_t capacity, free_slot;
    // Calls whose event is still to come, and what their records take.
    uint64_t pending, pending_bytes;
    ringlane_event *events;
} Queue;

static ringlane_status queue_release(void *handle, ringlane_error *error) {
    return ringlane_queue_free(handle, error);
}

static PyObject *queue_new(PyObject *module, PyObject *unused) {
    ringlane_error error;
    ringlane_queue *queue;
    int32_t fd;
    (void)module, (void)unused;
    if (ringlane_queue_new(&queue, &error) != RINGLANE_OK) {
        return raise_error(&error);
    }
    Queue *self = PyObject_New(Queue, (PyTypeObject *)queue_type);
    if (self == NULL) {
        ringlane_queue_free(queue, NULL);
        return NULL;
    }
    memset((char *)self + offsetof(Queue, handle), 0, sizeof *self - offsetof(Queue, handle));
    self->handle = queue;
    self->process = getpid();
    self->free_slot = NO_SLOT;
    self->events = malloc(EVENTS_MAX * sizeof *self->events);
    if (self->events == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (ringlane_queue_fd(queue, &fd, &error) != RINGLANE_OK) {
        Py_DECREF(self);
        return raise_error(&error);
    }
    self->fd = fd;
    return (PyObject *)self;
}

static void queue_dealloc(PyObject *object) {
    Queue *self = (Queue *)object;
    for (uint32_t i = 0; i < self->capacity; i++) {
        Py_CLEAR(self->slots[i].object);
        Py_CLEAR(self->slots[i].topic);
    }
    free(self->slots);
    free(self->events);
    handle_end((Handle *)self, queue_release, NULL);
}

static uint64_t slot_ticket(const Queue *self, uint32_t at) {
    return (uint64_t)self->slots[at].uses << 32 | at;
}

// Puts an object into a slot, with a reference of the slot's own, and one to a topic's name. Returns the slot's ticket.
static uint64_t slot_take(Queue *self, PyObject *object, PyObject *topic, uint64_t bytes) {
    if (self->free_slot == NO_SLOT) {
        uint32_t capacity = self->capacity == 0 ? 64 : self->capacity * 2;
        Slot *slots = capacity < self->capacity ? NULL : realloc(self->slots, capacity * sizeof *slots);
        if (slots == NULL) {
            PyErr_NoMemory();
            return NO_TICKET;
        }
        memset(slots + self->capacity, 0, (capacity - self->capacity) * sizeof *slots);
        for (uint32_t i = self->capacity; i < capacity; i++) {
            slots[i].next = i + 1 == capacity ? NO_SLOT : i + 1;
        }
        self->free_slot = self->capacity;
        self->slots = slots;
        self->capacity = capacity;
    }
    uint32_t at = self->free_slot;
    self->free_slot = self->slots[at].next;
    Py_INCREF(object);
    Py_XINCREF(topic);
    self->slots[at].object = object;
    self->slots[at].topic = topic;
    self->slots[at].bytes = bytes;
    self->pending++;
    self->pending_bytes += bytes;
    return slot_ticket(self, at);
}

// Takes the object out of a slot; its reference is the caller's, and so is that to the topic's name, if it is wanted.
// NULL: the ticket was given up.
static PyObject *slot_give(Queue *self, uint64_t ticket, PyObject **topic) {
    uint32_t at = (uint32_t)ticket;
    PyObject *object = NULL, *name = NULL;
    if (at < self->capacity && self->slots[at].object != NULL && slot_ticket(self, at) == ticket) {
        Slot *slot = &self->slots[at];
        object = slot->object;
        name = slot->topic;
        slot->object = NULL;
        slot->topic = NULL;
        slot->uses++;
        slot->next = self->free_slot;
        self->free_slot = at;
        self->pending--;
        self->pending_bytes -= slot->bytes;
    }
    if (topic != NULL) {
        *topic = name;
    } else {
        Py_XDECREF(name);
    }
    return object;
}

// The exception of an event that says an error.
static PyObject *event_exception(Queue *self, const ringlane_event *event) {
    ringlane_error of_event, error;
    if (ringlane_queue_error(self->handle, event->error_id, &of_event, &error) != RINGLANE_OK) {
        say(&of_event, event->status, "its message was not kept: ", ringlane_status_name(event->status));
        of_event.flags = event->flags;
    }
    return exception_of(&of_event);
}

// Ends what an event is about.
static void event_deliver(Queue *self, const ringlane_event *event) {
    PyObject *topic, *object = slot_give(self, event->user_data, &topic), *value = NULL, *done;
    if (object == NULL) {
        // Whoever waited has given it up.
        return;
    }
    PyObject *method = text_set_result;
    if (event->status != RINGLANE_OK) {
        method = text_set_exception;
        value = event_exception(self, event);
    } else if (event->kind == RINGLANE_EVENT_SENT) {
        value = receipt_new(&event->receipt, topic);
    } else if (event->kind == RINGLANE_EVENT_BATCH_SENT) {
        value = PyLong_FromUnsignedLongLong(event->count);
    } else {
        value = Py_None;
        Py_INCREF(value);
    }
    done = value == NULL ? NULL : PyObject_CallMethodObjArgs(object, method, value, NULL);
    if (done == NULL) {
        if (invalid_state != NULL && PyErr_ExceptionMatches(invalid_state)) {
            // Whoever waited has given up.
            PyErr_Clear();
        } else {
            PyErr_WriteUnraisable(object);
        }
    }
    Py_XDECREF(done);
    Py_XDECREF(value);
    Py_XDECREF(topic);
    Py_DECREF(object);
}

// Waits for events, up to `timeout_ms` (negative: for ever), and takes them out. -1: woken, or an error, with `status`.
static ssize_t queue_wait(Queue *self, void *handle, int64_t timeout_ms, ringlane_status *status,
                          ringlane_error *error) {
    size_t given = 0;
    *status = ringlane_queue_drain(handle, self->events, sizeof *self->events, EVENTS_MAX, timeout_ms, &given, error);
    if (*status == RINGLANE_ERROR_WOKEN) {
        *status = RINGLANE_OK;
        return -1;
    }
    return *status == RINGLANE_OK ? (ssize_t)given : -1;
}

// The same for Python: how many there are; -1: woken; -2: an exception is set.
static ssize_t queue_take(PyObject *object, PyObject *timeout) {
    Queue *self = (Queue *)object;
    int64_t timeout_ms;
    ringlane_error error;
    ringlane_status status;
    ssize_t given;
    void *handle = handle_in(object, "queue");
    if (handle == NULL || integer_of(timeout, "timeout_ms", &timeout_ms) < 0) {
        return -2;
    }
    if (self->is_draining) {
        say(&error, RINGLANE_ERROR_IN_USE, "queue", " is drained by another thread");
        raise_error(&error);
        return -2;
    }
    self->is_draining = 1;
    Py_INCREF(object);
    Py_BEGIN_ALLOW_THREADS
    given = queue_wait(self, handle, timeout_ms, &status, &error);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        self->is_draining = 0;
        raise_error(&error);
        Py_DECREF(object);
        return -2;
    }
    if (given <= 0) {
        self->is_draining = 0;
        Py_DECREF(object);
    }
    return given;
}

static void queue_taken(PyObject *object) {
    ((Queue *)object)->is_draining = 0;
    Py_DECREF(object);
}

// Ends what events are about, each with set_result or set_exception. Returns how many; -1: it was woken.
static PyObject *queue_deliver(PyObject *object, PyObject *timeout) {
    ssize_t given = queue_take(object, timeout);
    if (given == -2) {
        return NULL;
    }
    for (ssize_t i = 0; i < given; i++) {
        event_deliver((Queue *)object, &((Queue *)object)->events[i]);
    }
    if (given > 0) {
        queue_taken(object);
    }
    return PyLong_FromSsize_t(given);
}

// Questions of a checker: (number, id, prepared_ms, records, unknown) each. None: it was woken.
static PyObject *queue_checks(PyObject *object, PyObject *timeout) {
    Queue *self = (Queue *)object;
    ssize_t given = queue_take(object, timeout);
    if (given == -2) {
        return NULL;
    }
    if (given == -1) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New(0);
    for (ssize_t i = 0; list != NULL && i < given; i++) {
        ringlane_check check = {.struct_size = sizeof check};
        uint64_t number = self->events[i].count;
        if (ringlane_check_describe(self->handle, number, &check, NULL) != RINGLANE_OK) {
            // It is over already.
            continue;
        }
        PyObject *question =
            Py_BuildValue("(KsLKI)", (unsigned long long)number, check.id, (long long)check.prepared_ms,
                          (unsigned long long)check.records, (unsigned int)check.unknown);
        if (question == NULL || PyList_Append(list, question) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(question);
    }
    if (given > 0) {
        queue_taken(object);
    }
    return list;
}

static PyObject *queue_answer(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint64_t number;
    int64_t answer;
    void *handle = handle_in(self, "queue");
    COUNT_ARGUMENTS(2)
    if (handle == NULL || natural_of(args[0], "check", &number) < 0 || integer_of(args[1], "answer", &answer) < 0) {
        return NULL;
    }
    CALL(ringlane_check_answer(handle, number, (int32_t)answer, &error));
    Py_RETURN_NONE;
}

// forget(ticket): what was asked for is not wanted any more. If its event comes all the same, it finds nobody.
static PyObject *queue_forget(PyObject *self, PyObject *given) {
    uint64_t ticket;
    if (natural_of(given, "ticket", &ticket) < 0) {
        return NULL;
    }
    Py_XDECREF(slot_give((Queue *)self, ticket, NULL));
    Py_RETURN_NONE;
}

// Ends the wait of another thread, or the next one; of a queue that is closed nobody waits.
static PyObject *queue_wake(PyObject *self, PyObject *unused) {
    (void)unused;
    ringlane_queue_wakeup(((Queue *)self)->handle, NULL);
    Py_RETURN_NONE;
}

static PyObject *queue_close(PyObject *object, PyObject *unused) {
    Queue *self = (Queue *)object;
    ringlane_error error;
    (void)unused;
    if (handle_free((Handle *)object, queue_release, &error) != RINGLANE_OK) {
        return raise_error(&error);
    }
    // What never gets an event any more is told so.
    for (uint32_t i = 0; i < self->capacity; i++) {
        ringlane_event event;
        if (self->slots[i].object != NULL) {
            memset(&event, 0, sizeof event);
            event.user_data = slot_ticket(self, i);
            event.status = RINGLANE_ERROR_CLOSED;
            event_deliver(self, &event);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *queue_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    return handle_in(self, "queue") == NULL ? NULL : PyLong_FromLong(((Queue *)self)->fd);
}

static PyMemberDef queue_members[] = {
    {"pending", T_ULONGLONG, offsetof(Queue, pending), READONLY, NULL},
    {"pending_bytes", T_ULONGLONG, offsetof(Queue, pending_bytes), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef queue_methods[] = {
    {"deliver", queue_deliver, METH_O, NULL},
    {"checks", queue_checks, METH_O, NULL},
    {"answer", (PyCFunction)(void (*)(void))queue_answer, METH_FASTCALL, NULL},
    {"forget", queue_forget, METH_O, NULL},
    {"wake", queue_wake, METH_NOARGS, NULL},
    {"close", queue_close, METH_NOARGS, NULL},
    {"fileno", queue_fileno, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_dealloc, queue_dealloc}, {Py_tp_members, queue_members}, {Py_tp_methods, queue_methods},
    {Py_tp_getset, handle_getset},  {0, NULL},
};

static PyType_Spec queue_spec = {"ringlane._native.Queue", sizeof(Queue), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, queue_slots};

// ----- topics -----

static ringlane_status topic_release(void *handle, ringlane_error *error) {
    return ringlane_topic_free(handle, error);
}

static void topic_dealloc(PyObject *self) {
    // A topic has nothing that could be left half done.
    handle_end((Handle *)self, topic_release, NULL);
}

static PyObject *topic_from(ringlane_topic *topic, PyObject *name) {
    Handle *self = handle_new(topic_type, topic);
    if (self == NULL) {
        ringlane_topic_free(topic, NULL);
        return NULL;
    }
    Py_INCREF(name);
    self->extra = name;
    return (PyObject *)self;
}

static PyObject *topic_name(PyObject *topic) {
    return ((Handle *)topic)->extra;
}

static PyObject *topic_partitions(PyObject *self, PyObject *unused) {
    ringlane_error error;
    uint32_t partitions;
    (void)unused;
    void *handle = handle_in(self, "topic");
    if (handle == NULL) {
        return NULL;
    }
    if (ringlane_topic_partitions(handle, &partitions, &error) != RINGLANE_OK) {
        return raise_error(&error);
    }
    return PyLong_FromUnsignedLong(partitions);
}

static PyObject *topic_offsets(PyObject *self, PyObject *partition) {
    ringlane_error error;
    uint32_t number;
    uint64_t first, next;
    void *handle = handle_in(self, "topic");
    if (handle == NULL || narrow_of(partition, "partition", &number) < 0) {
        return NULL;
    }
    CALL(ringlane_topic_offsets(handle, number, &first, &next, &error));
    return Py_BuildValue("(KK)", (unsigned long long)first, (unsigned long long)next);
}

#define CLOSE(kind)                                                                                                    \
    static PyObject *kind##_close(PyObject *self, PyObject *unused) {                                                  \
        ringlane_error error;                                                                                          \
        (void)unused;                                                                                                  \
        if (handle_free((Handle *)self, kind##_release, &error) != RINGLANE_OK) {                                      \
            return raise_error(&error);                                                                                \
        }                                                                                                              \
        Py_RETURN_NONE;                                                                                                \
    }

CLOSE(topic)

static PyMethodDef topic_methods[] = {
    {"partitions", topic_partitions, METH_NOARGS, NULL},
    {"offsets", topic_offsets, METH_O, NULL},
    {"close", topic_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef topic_members[] = {
    {"name", T_OBJECT, offsetof(Handle, extra), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot topic_slots[] = {
    {Py_tp_dealloc, topic_dealloc}, {Py_tp_methods, topic_methods}, {Py_tp_members, topic_members},
    {Py_tp_getset, handle_getset},  {0, NULL},
};

static PyType_Spec topic_spec = {"ringlane._native.Topic", sizeof(Handle), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, topic_slots};

// ----- producers -----

static ringlane_status producer_release(void *handle, ringlane_error *error) {
    return ringlane_producer_free(handle, error);
}

static void producer_dealloc(PyObject *self) {
    handle_end((Handle *)self, producer_release, "a producer");
}

// send(topic, FIELDS...) -> Receipt
static PyObject *producer_send(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_receipt receipt;
    ringlane_status status;
    Ready ready;
    COUNT_ARGUMENTS(1 + FIELDS)
    void *handle = handle_in(self, "producer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || ready_begin(&ready, args + 1) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_producer_send(handle, topic, &ready.record, &receipt, &error);
    Py_END_ALLOW_THREADS
    ready_end(&ready);
    return status == RINGLANE_OK ? receipt_new(&receipt, topic_name(args[0])) : raise_error(&error);
}

// send_async(queue, future, topic, FIELDS...), or with one NewRecord for these
static PyObject *producer_send_async(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    Ready ready;
    int is_made = count == 4 && PyObject_TypeCheck(args[3], (PyTypeObject *)new_record_type);
    if (!is_made) {
        COUNT_ARGUMENTS(3 + FIELDS)
    }
    void *handle = handle_in(self, "producer"), *queue = handle_of(args[0], queue_type, "a queue");
    void *topic = handle_of(args[2], topic_type, "a topic");
    if (handle == NULL || queue == NULL || topic == NULL) {
        return NULL;
    }
    if ((is_made ? ready_of(&ready, &((NewRecord *)args[3])->outgoing) : ready_begin(&ready, args + 3)) < 0) {
        return NULL;
    }
    uint64_t ticket = slot_take((Queue *)args[0], args[1], topic_name(args[2]), bytes_of(&ready.record));
    if (ticket == NO_TICKET) {
        ready_end(&ready);
        return NULL;
    }
    ready.record.user_data = ticket;
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_producer_send_async(handle, topic, &ready.record, queue, &error);
    Py_END_ALLOW_THREADS
    ready_end(&ready);
    if (status != RINGLANE_OK) {
        Py_XDECREF(slot_give((Queue *)args[0], ticket, NULL));
        return raise_error(&error);
    }
    Py_RETURN_NONE;
}

// Records of a tuple, ready for one call. Values lead into the tuple's own objects.
typedef struct {
    PyObject *items;
    // Bytes that were made of other buffers.
    PyObject *made;
    ringlane_record *records;
    ringlane_header *headers;
    size_t count;
    uint64_t bytes;
} Many;

static void many_end(Many *many) {
    Py_CLEAR(many->items);
    Py_CLEAR(many->made);
    free(many->records);
    free(many->headers);
    many->records = NULL;
    many->headers = NULL;
}

static size_t many_headers(PyObject *items, size_t count) {
    size_t headers = 0;
    for (size_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(items, (Py_ssize_t)i);
        if (PyObject_TypeCheck(item, (PyTypeObject *)new_record_type)) {
            headers += outgoing_header_count(&((NewRecord *)item)->outgoing);
        } else if (PyObject_TypeCheck(item, (PyTypeObject *)record_type) && ((Record *)item)->headers != NULL) {
            headers += (size_t)PyTuple_Size(((Record *)item)->headers);
        }
    }
    return headers;
}

// One item: bytes, None, a NewRecord, or a Record that was polled, of which key, value, headers and time go along.
static int many_fill(Many *many, size_t at, PyObject *item, ringlane_header *headers) {
    ringlane_record *record = &many->records[at];
    // Most are bytes, and these are the fastest way.
    if (PyBytes_Check(item)) {
        memset(record, 0, sizeof *record);
        record->struct_size = sizeof *record;
        record->value = bytes_in(item);
    } else if (PyObject_TypeCheck(item, (PyTypeObject *)new_record_type)) {
        return outgoing_fill(&((NewRecord *)item)->outgoing, record, headers);
    } else if (PyObject_TypeCheck(item, (PyTypeObject *)record_type)) {
        Record *polled = (Record *)item;
        Outgoing outgoing = {.value = polled->value, .key = polled->key, .headers = polled->headers,
                             .flags = RINGLANE_RECORD_TIMESTAMP, .timestamp_ms = polled->timestamp_ms};
        return outgoing_fill(&outgoing, record, headers);
    } else {
        PyObject *octets;
        if (octets_of(item, "each record", 0, &octets) < 0) {
            return -1;
        }
        memset(record, 0, sizeof *record);
        record->struct_size = sizeof *record;
        record->value = bytes_in(octets);
        if (octets != NULL) {
            if (many->made == NULL) {
                many->made = PyList_New(0);
            }
            int kept = many->made == NULL ? -1 : PyList_Append(many->made, octets);
            Py_DECREF(octets);
            return kept;
        }
    }
    return 0;
}

static int many_begin(Many *many, PyObject *given, PyObject *partition) {
    uint32_t number;
    memset(many, 0, sizeof *many);
    if (PyUnicode_Check(given) || PyBytes_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "expected an iterable of records, not one value");
        return -1;
    }
    if (partition_of(partition, &number) < 0 || (many->items = PySequence_Tuple(given)) == NULL) {
        return -1;
    }
    many->count = (size_t)PyTuple_Size(many->items);
    size_t header_count = many_headers(many->items, many->count), header_at = 0;
    many->records = malloc((many->count + 1) * sizeof *many->records);
    many->headers = malloc((header_count + 1) * sizeof *many->headers);
    if (many->records == NULL || many->headers == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < many->count; i++) {
        ringlane_record *record = &many->records[i];
        if (many_fill(many, i, PyTuple_GetItem(many->items, (Py_ssize_t)i), many->headers + header_at) < 0) {
            goto failed;
        }
        header_at += record->header_count;
        many->bytes += bytes_of(record);
        if (number != RINGLANE_ANY_PARTITION && !(record->flags & RINGLANE_RECORD_PARTITION)) {
            record->flags |= RINGLANE_RECORD_PARTITION;
            record->partition = number;
        }
    }
    return 0;
failed:
    many_end(many);
    return -1;
}

// send_many(topic, records, partition) -> list of receipts
static PyObject *producer_send_many(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    Many many;
    COUNT_ARGUMENTS(3)
    void *handle = handle_in(self, "producer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || many_begin(&many, args[1], args[2]) < 0) {
        return NULL;
    }
    size_t sent = many.count;
    ringlane_receipt *receipts = malloc((sent + 1) * sizeof *receipts);
    if (receipts == NULL) {
        many_end(&many);
        return PyErr_NoMemory();
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_producer_send_batch(handle, topic, many.records, sizeof *many.records, sent, receipts,
                                          sizeof *receipts, &error);
    Py_END_ALLOW_THREADS
    many_end(&many);
    PyObject *list = status == RINGLANE_OK ? receipts_from(receipts, sent, topic_name(args[0])) : raise_error(&error);
    free(receipts);
    return list;
}

// send_many_async(queue, future, topic, records, partition) -> how many were handed over
static PyObject *producer_send_many_async(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    Many many;
    COUNT_ARGUMENTS(5)
    void *handle = handle_in(self, "producer"), *queue = handle_of(args[0], queue_type, "a queue");
    void *topic = handle_of(args[2], topic_type, "a topic");
    if (handle == NULL || queue == NULL || topic == NULL || many_begin(&many, args[3], args[4]) < 0) {
        return NULL;
    }
    size_t sent = many.count;
    uint64_t ticket = slot_take((Queue *)args[0], args[1], NULL, many.bytes);
    if (ticket == NO_TICKET) {
        many_end(&many);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_producer_send_batch_async(handle, topic, many.records, sizeof *many.records, sent, queue, 0,
                                                ticket, &error);
    Py_END_ALLOW_THREADS
    many_end(&many);
    if (status != RINGLANE_OK) {
        Py_XDECREF(slot_give((Queue *)args[0], ticket, NULL));
        return raise_error(&error);
    }
    return PyLong_FromSize_t(sent);
}

// Sends (topic, records, partition), a buffer in the record layout; with a queue, `future` is told. Returns how many
// records there were.
static PyObject *packed_send(PyObject *self, PyObject *queue, PyObject *future, PyObject *const *args) {
    ringlane_error error;
    ringlane_status status;
    PyObject *octets = NULL;
    uint32_t partition;
    uint64_t ticket = 0;
    size_t sent = 0;
    void *handle = handle_in(self, "producer"), *topic = handle_of(args[0], topic_type, "a topic");
    void *told = queue == NULL ? NULL : handle_of(queue, queue_type, "a queue");
    if (handle == NULL || topic == NULL || (queue != NULL && told == NULL) || partition_of(args[2], &partition) < 0 ||
        octets_of(args[1], "records", 0, &octets) < 0) {
        return NULL;
    }
    if (octets == NULL) {
        PyErr_SetString(PyExc_TypeError, "records must be bytes, not None");
        return NULL;
    }
    ringlane_bytes bytes = bytes_in(octets);
    if (queue != NULL) {
        ticket = slot_take((Queue *)queue, future, NULL, 64 + bytes.size);
    }
    if (ticket == NO_TICKET) {
        Py_DECREF(octets);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_producer_send_packed(handle, topic, bytes.data, bytes.size, partition, told, ticket, &sent,
                                           &error);
    Py_END_ALLOW_THREADS
    Py_DECREF(octets);
    if (status != RINGLANE_OK) {
        if (queue != NULL) {
            Py_XDECREF(slot_give((Queue *)queue, ticket, NULL));
        }
        return raise_error(&error);
    }
    return PyLong_FromSize_t(sent);
}

// send_packed(topic, records, partition)
static PyObject *producer_send_packed(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    COUNT_ARGUMENTS(3)
    return packed_send(self, NULL, NULL, args);
}

// send_packed_async(queue, future, topic, records, partition)
static PyObject *producer_send_packed_async(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    COUNT_ARGUMENTS(5)
    return packed_send(self, args[0], args[1], args + 2);
}

static PyObject *producer_flush(PyObject *self, PyObject *unused) {
    ringlane_error error;
    (void)unused;
    void *handle = handle_in(self, "producer");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_producer_flush(handle, &error));
    Py_RETURN_NONE;
}

static PyObject *producer_cancel(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t log, index;
    uint64_t position;
    COUNT_ARGUMENTS(3)
    void *handle = handle_in(self, "producer");
    if (handle == NULL || narrow_of(args[0], "log", &log) < 0 || natural_of(args[1], "position", &position) < 0 ||
        narrow_of(args[2], "index", &index) < 0) {
        return NULL;
    }
    CALL(ringlane_producer_cancel(handle, log, position, index, &error));
    Py_RETURN_NONE;
}

static PyObject *producer_epoch(PyObject *self, PyObject *unused) {
    ringlane_error error;
    uint32_t epoch;
    (void)unused;
    void *handle = handle_in(self, "producer");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_producer_epoch(handle, &epoch, &error));
    return PyLong_FromUnsignedLong(epoch);
}

static PyObject *producer_last_sent(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    int32_t found;
    uint64_t sequence;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "producer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || narrow_of(args[1], "partition", &partition) < 0) {
        return NULL;
    }
    CALL(ringlane_producer_last_sent(handle, topic, partition, &found, &sequence, &error));
    if (!found) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(sequence);
}

static PyObject *producer_last_message_id(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    uint8_t id[RINGLANE_MESSAGE_ID_BYTES];
    size_t size;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "producer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || narrow_of(args[1], "partition", &partition) < 0) {
        return NULL;
    }
    CALL(ringlane_producer_last_message_id(handle, topic, partition, id, &size, &error));
    if (size == 0) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)id, (Py_ssize_t)size);
}

CLOSE(producer)

#define FAST(name, function) {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL, NULL}

// Stands with the transactions.
static PyObject *producer_transaction(PyObject *self, PyObject *given);

static PyMethodDef producer_methods[] = {
    {"transaction", producer_transaction, METH_O, NULL},
    FAST("send", producer_send),
    FAST("send_async", producer_send_async),
    FAST("send_many", producer_send_many),
    FAST("send_many_async", producer_send_many_async),
    FAST("send_packed", producer_send_packed),
    FAST("send_packed_async", producer_send_packed_async),
    {"flush", producer_flush, METH_NOARGS, NULL},
    FAST("cancel", producer_cancel),
    {"epoch", producer_epoch, METH_NOARGS, NULL},
    FAST("last_sent", producer_last_sent),
    FAST("last_message_id", producer_last_message_id),
    {"close", producer_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot producer_slots[] = {
    {Py_tp_dealloc, producer_dealloc}, {Py_tp_methods, producer_methods}, {Py_tp_getset, handle_getset}, {0, NULL},
};

static PyType_Spec producer_spec = {"ringlane._native.Producer", sizeof(Handle), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, producer_slots};

// ----- polls, of consumers and members -----

typedef ringlane_status (*poll_function)(const void *, int64_t, ringlane_records **, ringlane_error *);

static ringlane_status poll_consumer(const void *handle, int64_t timeout_ms, ringlane_records **records,
                                     ringlane_error *error) {
    return ringlane_consumer_poll(handle, timeout_ms, records, error);
}

static ringlane_status poll_member(const void *handle, int64_t timeout_ms, ringlane_records **records,
                                   ringlane_error *error) {
    return ringlane_member_poll(handle, timeout_ms, records, error);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits for records, and looks for signals meanwhile where they arrive. -1: an exception is set.
static int poll_records(PyObject *self, const char *what, poll_function call, PyObject *timeout,
                        ringlane_records **records) {
    ringlane_error error;
    int64_t timeout_ms;
    void *handle = handle_in(self, what);
    *records = NULL;
    if (handle == NULL || integer_of(timeout, "timeout_ms", &timeout_ms) < 0) {
        return -1;
    }
    int looks = timeout_ms != 0 && PyThread_get_thread_ident() == main_thread;
    int64_t begun = looks ? now_ms() : 0;
    for (;;) {
        ringlane_status status;
        int64_t left = timeout_ms < 0 ? -1 : timeout_ms;
        if (looks && timeout_ms > 0) {
            left = timeout_ms - (now_ms() - begun);
            left = left < 0 ? 0 : left;
        }
        int is_last = !looks || (left >= 0 && left <= SIGNAL_LOOK_MS);
        Py_BEGIN_ALLOW_THREADS
        status = call(handle, is_last ? left : SIGNAL_LOOK_MS, records, &error);
        Py_END_ALLOW_THREADS
        if (status == RINGLANE_ERROR_IN_USE && ((Handle *)self)->handle == NULL) {
            // The thread that is in a call of it is the one that closes it.
            say(&error, RINGLANE_ERROR_CLOSED, what, " is closed");
        }
        if (status != RINGLANE_OK) {
            raise_error(&error);
            return -1;
        }
        if (*records != NULL || is_last) {
            return 0;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
}

static PyObject *poll_list(PyObject *self, const char *what, poll_function call, PyObject *timeout) {
    ringlane_records *records;
    if (poll_records(self, what, call, timeout, &records) < 0) {
        return NULL;
    }
    return records == NULL ? PyList_New(0) : records_from(records, call == poll_member ? self : NULL);
}

static PyObject *poll_batch(PyObject *self, const char *what, poll_function call, PyObject *timeout) {
    ringlane_records *records;
    if (poll_records(self, what, call, timeout, &records) < 0) {
        return NULL;
    }
    return batch_from(records, call == poll_member ? self : NULL);
}

// notify(queue, future) -> ticket: the future is ended when there is something to be polled, unless it is forgotten.
#define NOTIFY(kind)                                                                                                   \
    static PyObject *kind##_notify(PyObject *self, PyObject *const *args, Py_ssize_t count) {                          \
        ringlane_error error;                                                                                          \
        ringlane_status status;                                                                                        \
        COUNT_ARGUMENTS(2)                                                                                             \
        void *handle = handle_in(self, #kind), *queue = handle_of(args[0], queue_type, "a queue");                     \
        if (handle == NULL || queue == NULL) {                                                                         \
            return NULL;                                                                                               \
        }                                                                                                              \
        uint64_t ticket = slot_take((Queue *)args[0], args[1], NULL, 0);                                               \
        if (ticket == NO_TICKET) {                                                                                     \
            return NULL;                                                                                               \
        }                                                                                                              \
        Py_BEGIN_ALLOW_THREADS                                                                                         \
        status = ringlane_##kind##_notify(handle, queue, ticket, &error);                                              \
        Py_END_ALLOW_THREADS                                                                                           \
        if (status != RINGLANE_OK) {                                                                                   \
            Py_XDECREF(slot_give((Queue *)args[0], ticket, NULL));                                                     \
            return raise_error(&error);                                                                                \
        }                                                                                                              \
        return PyLong_FromUnsignedLongLong(ticket);                                                                    \
    }                                                                                                                  \
    static PyObject *kind##_wakeup(PyObject *self, PyObject *unused) {                                                 \
        ringlane_error error;                                                                                          \
        (void)unused;                                                                                                  \
        void *handle = handle_in(self, #kind);                                                                         \
        if (handle == NULL) {                                                                                          \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(ringlane_##kind##_wakeup(handle, &error));                                                                \
        Py_RETURN_NONE;                                                                                                \
    }                                                                                                                  \
    static PyObject *kind##_poll(PyObject *self, PyObject *timeout) {                                                  \
        return poll_list(self, #kind, poll_##kind, timeout);                                                           \
    }                                                                                                                  \
    static PyObject *kind##_poll_batch(PyObject *self, PyObject *timeout) {                                            \
        return poll_batch(self, #kind, poll_##kind, timeout);                                                          \
    }                                                                                                                  \
    static ringlane_status kind##_release(void *handle, ringlane_error *error) {                                       \
        return ringlane_##kind##_free(handle, error);                                                                  \
    }                                                                                                                  \
    static void kind##_dealloc(PyObject *self) {                                                                       \
        handle_end((Handle *)self, kind##_release, "a " #kind);                                                        \
    }                                                                                                                  \
    static ringlane_status kind##_end(void *handle, ringlane_error *error) {                                           \
        ringlane_##kind##_close(handle, NULL);                                                                         \
        return ringlane_##kind##_free(handle, error);                                                                  \
    }                                                                                                                  \
    /* It is closed before it is freed, so that a thread that waits in it goes. */                                     \
    static PyObject *kind##_close(PyObject *self, PyObject *unused) {                                                  \
        ringlane_error error;                                                                                          \
        (void)unused;                                                                                                  \
        if (handle_free((Handle *)self, kind##_end, &error) != RINGLANE_OK) {                                          \
            return raise_error(&error);                                                                                \
        }                                                                                                              \
        Py_RETURN_NONE;                                                                                                \
    }

NOTIFY(consumer)
NOTIFY(member)

// ----- consumers -----

static int start_of(PyObject *const *args, int32_t *start, int64_t *value) {
    int64_t kind;
    if (integer_of(args[0], "start", &kind) < 0 || integer_of(args[1], "value", value) < 0) {
        return -1;
    }
    *start = (int32_t)kind;
    return 0;
}

// assign(topic, partition, start, value)
static PyObject *consumer_assign(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    int32_t start;
    int64_t value;
    COUNT_ARGUMENTS(4)
    void *handle = handle_in(self, "consumer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || partition_of(args[1], &partition) < 0 ||
        start_of(args + 2, &start, &value) < 0) {
        return NULL;
    }
    CALL(ringlane_consumer_assign(handle, topic, partition, start, value, &error));
    Py_RETURN_NONE;
}

static PyObject *consumer_unassign(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "consumer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || partition_of(args[1], &partition) < 0) {
        return NULL;
    }
    CALL(ringlane_consumer_unassign(handle, topic, partition, &error));
    Py_RETURN_NONE;
}

static PyObject *consumer_seek(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    int32_t start;
    int64_t value;
    COUNT_ARGUMENTS(4)
    void *handle = handle_in(self, "consumer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || narrow_of(args[1], "partition", &partition) < 0 ||
        start_of(args + 2, &start, &value) < 0) {
        return NULL;
    }
    CALL(ringlane_consumer_seek(handle, topic, partition, start, value, &error));
    Py_RETURN_NONE;
}

static PyObject *consumer_position(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    int32_t found;
    uint64_t offset;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "consumer"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || narrow_of(args[1], "partition", &partition) < 0) {
        return NULL;
    }
    CALL(ringlane_consumer_position(handle, topic, partition, &found, &offset, &error));
    if (!found) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLongLong(offset);
}

static PyObject *consumer_continuity(PyObject *self, PyObject *unused) {
    ringlane_error error;
    ringlane_text *text;
    (void)unused;
    void *handle = handle_in(self, "consumer");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_consumer_continuity(handle, &text, &error));
    return take_text(text);
}

static PyObject *consumer_explain_missing(PyObject *self, PyObject *unused) {
    ringlane_error error;
    ringlane_text *text;
    (void)unused;
    void *handle = handle_in(self, "consumer");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_consumer_explain_missing(handle, &text, &error));
    return take_text(text);
}

static PyMethodDef consumer_methods[] = {
    FAST("assign", consumer_assign),
    FAST("unassign", consumer_unassign),
    FAST("seek", consumer_seek),
    FAST("position", consumer_position),
    {"poll", consumer_poll, METH_O, NULL},
    {"poll_batch", consumer_poll_batch, METH_O, NULL},
    {"wakeup", consumer_wakeup, METH_NOARGS, NULL},
    FAST("notify", consumer_notify),
    {"continuity", consumer_continuity, METH_NOARGS, NULL},
    {"explain_missing", consumer_explain_missing, METH_NOARGS, NULL},
    {"close", consumer_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot consumer_slots[] = {
    {Py_tp_dealloc, consumer_dealloc}, {Py_tp_methods, consumer_methods}, {Py_tp_getset, handle_getset}, {0, NULL},
};

static PyType_Spec consumer_spec = {"ringlane._native.Consumer", sizeof(Handle), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, consumer_slots};

// ----- members -----

// What a record, a view, or the `delivery` of one names.
static int delivery_of(PyObject *object, ringlane_delivery *delivery) {
    memset(delivery, 0, sizeof *delivery);
    if (PyObject_TypeCheck(object, (PyTypeObject *)record_type) ||
        PyObject_TypeCheck(object, (PyTypeObject *)view_type)) {
        uint32_t delivery_count;
        if (PyObject_TypeCheck(object, (PyTypeObject *)record_type)) {
            *delivery = ((Record *)object)->delivery;
            delivery_count = ((Record *)object)->delivery_count;
        } else {
            const ringlane_record_view *view = view_in(object);
            if (view == NULL) {
                return -1;
            }
            *delivery = view->delivery;
            delivery_count = view->delivery_count;
        }
        if (delivery_count == 0) {
            PyErr_SetString(PyExc_ValueError, "the record was not handed to a member of a group: a consumer polled it");
            return -1;
        }
        return 0;
    }
    if (PyTuple_Check(object) && PyTuple_Size(object) == 3) {
        uint32_t place;
        if (narrow_of(PyTuple_GetItem(object, 0), "a delivery's place", &place) < 0 ||
            natural_of(PyTuple_GetItem(object, 1), "a delivery's offset", &delivery->offset) < 0 ||
            natural_of(PyTuple_GetItem(object, 2), "a delivery's serial", &delivery->serial) < 0) {
            return -1;
        }
        delivery->place = place;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "expected a record of a poll, or its delivery, not %R", (PyObject *)Py_TYPE(object));
    return -1;
}

typedef struct {
    ringlane_delivery one, *all;
    size_t count;
    // What they came from, if they are several.
    PyObject *items;
} Deliveries;

static void deliveries_end(Deliveries *deliveries) {
    if (deliveries->all != &deliveries->one) {
        free(deliveries->all);
    }
    Py_CLEAR(deliveries->items);
}

// The member that a record was handed to; NULL where it does not say.
static PyObject *member_of(PyObject *object) {
    if (PyObject_TypeCheck(object, (PyTypeObject *)record_type)) {
        return ((Record *)object)->member;
    }
    return PyObject_TypeCheck(object, (PyTypeObject *)view_type) ? ((View *)object)->batch->member : NULL;
}

// One of them, or an iterable of several.
static int deliveries_of(PyObject *object, Deliveries *deliveries) {
    deliveries->all = &deliveries->one;
    deliveries->count = 1;
    deliveries->items = NULL;
    int is_one = PyObject_TypeCheck(object, (PyTypeObject *)record_type) ||
                 PyObject_TypeCheck(object, (PyTypeObject *)view_type) ||
                 (PyTuple_Check(object) && PyTuple_Size(object) == 3 && PyLong_Check(PyTuple_GetItem(object, 0)));
    if (is_one || object == Py_None || PyUnicode_Check(object) || PyBytes_Check(object)) {
        return delivery_of(object, &deliveries->one);
    }
    PyObject *items = PySequence_Tuple(object);
    if (items == NULL) {
        return -1;
    }
    deliveries->count = (size_t)PyTuple_Size(items);
    deliveries->all = malloc((deliveries->count + 1) * sizeof *deliveries->all);
    int result = deliveries->all == NULL ? -1 : 0;
    if (result < 0) {
        PyErr_NoMemory();
    }
    for (size_t i = 0; result == 0 && i < deliveries->count; i++) {
        result = delivery_of(PyTuple_GetItem(items, (Py_ssize_t)i), &deliveries->all[i]);
    }
    deliveries->items = items;
    if (result < 0) {
        deliveries_end(deliveries);
    }
    return result;
}

// Ends deliveries: ACTION uses `handle`, `all`, `stride`, `count`, `&done` and `&error`.
#define END(name, arguments, extra_check, expression)                                                                  \
    static PyObject *member_##name(PyObject *self, PyObject *const *args, Py_ssize_t count) {                          \
        ringlane_error error;                                                                                          \
        ringlane_status status;                                                                                        \
        Deliveries given;                                                                                              \
        int64_t time_ms = 0;                                                                                           \
        size_t done = 0;                                                                                               \
        COUNT_ARGUMENTS(arguments)                                                                                     \
        void *handle = handle_in(self, "member");                                                                      \
        if (handle == NULL || (extra_check) || deliveries_of(args[0], &given) < 0) {                                   \
            return NULL;                                                                                               \
        }                                                                                                              \
        (void)time_ms;                                                                                                 \
        Py_BEGIN_ALLOW_THREADS                                                                                         \
        status = (expression);                                                                                         \
        Py_END_ALLOW_THREADS                                                                                           \
        deliveries_end(&given);                                                                                        \
        if (status != RINGLANE_OK) {                                                                                   \
            return raise_done(&error, (Py_ssize_t)done);                                                               \
        }                                                                                                              \
        return PyLong_FromSize_t(done);                                                                                \
    }

#define STRIDE sizeof(ringlane_delivery)
END(ack, 1, 0, ringlane_member_ack(handle, given.all, STRIDE, given.count, &done, &error))
END(nack, 2, integer_of(args[1], "delay_ms", &time_ms) < 0,
    ringlane_member_nack(handle, given.all, STRIDE, given.count, time_ms, &done, &error))
END(reject, 1, 0, ringlane_member_reject(handle, given.all, STRIDE, given.count, &done, &error))
END(give_back, 1, 0, ringlane_member_release(handle, given.all, STRIDE, given.count, &done, &error))
END(extend, 2, integer_of(args[1], "lease_ms", &time_ms) < 0,
    ringlane_member_extend(handle, given.all, STRIDE, given.count, time_ms, &done, &error))

static PyObject *member_ack_through(PyObject *self, PyObject *record) {
    ringlane_error error;
    ringlane_delivery delivery;
    uint64_t lost = 0;
    void *handle = handle_in(self, "member");
    if (handle == NULL || delivery_of(record, &delivery) < 0) {
        return NULL;
    }
    CALL(ringlane_member_ack_through(handle, &delivery, &lost, &error));
    return PyLong_FromUnsignedLongLong(lost);
}

// once(record, token) -> RINGLANE_ONCE_...
static PyObject *member_once(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_delivery delivery;
    PyObject *token;
    int32_t once;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "member");
    if (handle == NULL || delivery_of(args[0], &delivery) < 0 || octets_of(args[1], "token", 1, &token) < 0) {
        return NULL;
    }
    if (token == NULL) {
        PyErr_SetString(PyExc_TypeError, "token must be bytes or str, not None");
        return NULL;
    }
    ringlane_bytes bytes = bytes_in(token);
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_member_once(handle, &delivery, bytes.data, bytes.size, &once, &error);
    Py_END_ALLOW_THREADS
    Py_DECREF(token);
    return status == RINGLANE_OK ? PyLong_FromLong(once) : raise_error(&error);
}

static PyObject *member_flush(PyObject *self, PyObject *unused) {
    ringlane_error error;
    (void)unused;
    void *handle = handle_in(self, "member");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_member_flush(handle, &error));
    Py_RETURN_NONE;
}

static PyObject *member_in_flight(PyObject *self, PyObject *unused) {
    ringlane_error error;
    uint64_t in_flight;
    (void)unused;
    void *handle = handle_in(self, "member");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_member_in_flight(handle, &in_flight, &error));
    return PyLong_FromUnsignedLongLong(in_flight);
}

#define PAUSE(name)                                                                                                    \
    static PyObject *member_##name(PyObject *self, PyObject *const *args, Py_ssize_t count) {                          \
        ringlane_error error;                                                                                          \
        uint32_t partition;                                                                                            \
        COUNT_ARGUMENTS(2)                                                                                             \
        void *handle = handle_in(self, "member");                                                                      \
        const char *topic = handle == NULL ? NULL : text_of(args[0], "topic");                                         \
        if (topic == NULL || narrow_of(args[1], "partition", &partition) < 0) {                                        \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(ringlane_member_##name(handle, topic, partition, &error));                                                \
        Py_RETURN_NONE;                                                                                                \
    }

PAUSE(pause)
PAUSE(resume)

static PyMethodDef member_methods[] = {
    {"poll", member_poll, METH_O, NULL},
    {"poll_batch", member_poll_batch, METH_O, NULL},
    {"wakeup", member_wakeup, METH_NOARGS, NULL},
    FAST("notify", member_notify),
    FAST("ack", member_ack),
    FAST("nack", member_nack),
    FAST("reject", member_reject),
    FAST("release", member_give_back),
    FAST("extend", member_extend),
    {"ack_through", member_ack_through, METH_O, NULL},
    FAST("once", member_once),
    {"flush", member_flush, METH_NOARGS, NULL},
    {"in_flight", member_in_flight, METH_NOARGS, NULL},
    FAST("pause", member_pause),
    FAST("resume", member_resume),
    {"close", member_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot member_slots[] = {
    {Py_tp_dealloc, member_dealloc}, {Py_tp_methods, member_methods}, {Py_tp_getset, handle_getset}, {0, NULL},
};

static PyType_Spec member_spec = {"ringlane._native.Member", sizeof(Handle), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, member_slots};

// ----- transactions -----

static ringlane_status transaction_release(void *handle, ringlane_error *error) {
    return ringlane_transaction_free(handle, error);
}

static void transaction_dealloc(PyObject *self) {
    handle_end((Handle *)self, transaction_release, "a transaction");
}

// transaction(options) of a producer
static PyObject *producer_transaction(PyObject *self, PyObject *given) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    ringlane_transaction *transaction;
    void *handle = handle_in(self, "producer");
    if (handle == NULL || options_of(RINGLANE_OPTIONS_TRANSACTION, given, &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_transaction_begin(handle, options, &transaction, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Handle *made = handle_new(transaction_type, transaction);
    if (made == NULL) {
        ringlane_transaction_free(transaction, NULL);
    } else if ((made->extra = PyList_New(0)) == NULL) {
        Py_CLEAR(made);
    }
    return (PyObject *)made;
}

static PyObject *transaction_id(PyObject *self, PyObject *unused) {
    ringlane_error error;
    const char *id;
    (void)unused;
    void *handle = handle_in(self, "transaction");
    if (handle == NULL) {
        return NULL;
    }
    if (ringlane_transaction_id(handle, &id, &error) != RINGLANE_OK) {
        return raise_error(&error);
    }
    return PyUnicode_FromString(id);
}

static PyObject *transaction_state(PyObject *self, PyObject *unused) {
    ringlane_error error;
    int32_t state;
    (void)unused;
    void *handle = handle_in(self, "transaction");
    if (handle == NULL) {
        return NULL;
    }
    CALL(ringlane_transaction_state(handle, &state, &error));
    return PyLong_FromLong(state);
}

// send(topic, FIELDS...)
static PyObject *transaction_send(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    Ready ready;
    COUNT_ARGUMENTS(1 + FIELDS)
    void *handle = handle_in(self, "transaction"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || ready_begin(&ready, args + 1) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_transaction_send(handle, topic, &ready.record, &error);
    Py_END_ALLOW_THREADS
    ready_end(&ready);
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    // Its records' topics, for their receipts.
    if (PyList_Append(((Handle *)self)->extra, topic_name(args[0])) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

// The member of a delivery among several; `given` is who was named, or None.
static PyObject *member_at(const Deliveries *deliveries, PyObject *one, size_t at, PyObject *given) {
    PyObject *item = deliveries->items == NULL ? one : PyTuple_GetItem(deliveries->items, (Py_ssize_t)at);
    PyObject *member = given != Py_None ? given : member_of(item);
    if (member == NULL) {
        PyErr_SetString(PyExc_ValueError, "a bare delivery does not say whose it is: give its member too");
    }
    return member;
}

// ack(records, member or None) -> how many it has taken. Records of several members are taken member by member.
static PyObject *transaction_ack(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status = RINGLANE_OK;
    Deliveries given;
    size_t taken = 0;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "transaction");
    if (handle == NULL || deliveries_of(args[0], &given) < 0) {
        return NULL;
    }
    while (taken < given.count && status == RINGLANE_OK) {
        PyObject *member = member_at(&given, args[0], taken, args[1]);
        void *of_member = member == NULL ? NULL : handle_of(member, member_type, "a member");
        size_t run = 1, done = 0;
        if (of_member == NULL) {
            deliveries_end(&given);
            return NULL;
        }
        while (taken + run < given.count && member_at(&given, args[0], taken + run, args[1]) == member) {
            run++;
        }
        PyErr_Clear();
        Py_BEGIN_ALLOW_THREADS
        status = ringlane_transaction_ack(handle, of_member, given.all + taken, STRIDE, run, &done, &error);
        Py_END_ALLOW_THREADS
        taken += done;
    }
    deliveries_end(&given);
    return status == RINGLANE_OK ? PyLong_FromSize_t(taken) : raise_done(&error, (Py_ssize_t)taken);
}

#define DECIDE(name)                                                                                                   \
    static PyObject *transaction_##name(PyObject *self, PyObject *unused) {                                            \
        ringlane_error error;                                                                                          \
        (void)unused;                                                                                                  \
        void *handle = handle_in(self, "transaction");                                                                 \
        if (handle == NULL) {                                                                                          \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(ringlane_transaction_##name(handle, &error));                                                             \
        Py_RETURN_NONE;                                                                                                \
    }

DECIDE(prepare)
DECIDE(commit)
DECIDE(roll_back)

static PyObject *transaction_receipts(PyObject *self, PyObject *unused) {
    ringlane_error error;
    ringlane_receipt *receipts = NULL;
    ringlane_status status;
    size_t count = 0, room = 0;
    (void)unused;
    void *handle = handle_in(self, "transaction");
    if (handle == NULL) {
        return NULL;
    }
    do {
        ringlane_receipt *larger = realloc(receipts, (count + 1) * sizeof *receipts);
        if (larger == NULL) {
            free(receipts);
            return PyErr_NoMemory();
        }
        receipts = larger;
        room = count + 1;
        Py_BEGIN_ALLOW_THREADS
        status = ringlane_transaction_receipts(handle, receipts, sizeof *receipts, room, &count, &error);
        Py_END_ALLOW_THREADS
    } while (status == RINGLANE_OK && count > room);
    PyObject *list = status == RINGLANE_OK ? PyList_New((Py_ssize_t)count) : raise_error(&error);
    PyObject *topics = ((Handle *)self)->extra;
    for (size_t i = 0; list != NULL && i < count; i++) {
        int is_known = (Py_ssize_t)i < PyList_Size(topics);
        PyObject *receipt = receipt_new(&receipts[i], is_known ? PyList_GetItem(topics, (Py_ssize_t)i) : NULL);
        if (receipt == NULL || PyList_SetItem(list, (Py_ssize_t)i, receipt) < 0) {
            Py_CLEAR(list);
        }
    }
    free(receipts);
    return list;
}

CLOSE(transaction)

static PyMethodDef transaction_methods[] = {
    {"id", transaction_id, METH_NOARGS, NULL},
    {"state", transaction_state, METH_NOARGS, NULL},
    FAST("send", transaction_send),
    FAST("ack", transaction_ack),
    {"prepare", transaction_prepare, METH_NOARGS, NULL},
    {"commit", transaction_commit, METH_NOARGS, NULL},
    {"roll_back", transaction_roll_back, METH_NOARGS, NULL},
    {"receipts", transaction_receipts, METH_NOARGS, NULL},
    {"close", transaction_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot transaction_slots[] = {
    {Py_tp_dealloc, transaction_dealloc},
    {Py_tp_methods, transaction_methods},
    {Py_tp_getset, handle_getset},
    {0, NULL},
};

static PyType_Spec transaction_spec = {"ringlane._native.Transaction", sizeof(Handle), 0,
                                       Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, transaction_slots};

// ----- engines -----

static ringlane_status engine_release(void *handle, ringlane_error *error) {
    ringlane_status closed = ringlane_engine_close(handle, error), freed = ringlane_engine_free(handle, NULL);
    return closed != RINGLANE_OK ? closed : freed;
}

static void engine_dealloc(PyObject *self) {
    handle_end((Handle *)self, engine_release, "an engine");
}

CLOSE(engine)

// open(path, options, is_read_only)
static PyObject *native_open(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    ringlane_engine *engine;
    (void)module;
    COUNT_ARGUMENTS(3)
    const char *path = text_of(args[0], "path");
    int reads = PyObject_IsTrue(args[2]);
    if (path == NULL || reads < 0 || options_of(RINGLANE_OPTIONS_ENGINE, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = reads ? ringlane_engine_open_read_only(path, options, &engine, &error)
                   : ringlane_engine_open(path, options, &engine, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Handle *self = handle_new(engine_type, engine);
    if (self == NULL) {
        ringlane_engine_free(engine, NULL);
    }
    return (PyObject *)self;
}

// A call of an engine's that takes nothing.
#define PLAIN(name)                                                                                                    \
    static PyObject *engine_##name(PyObject *self, PyObject *unused) {                                                 \
        ringlane_error error;                                                                                          \
        (void)unused;                                                                                                  \
        void *handle = handle_in(self, "engine");                                                                      \
        if (handle == NULL) {                                                                                          \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(ringlane_engine_##name(handle, &error));                                                                  \
        Py_RETURN_NONE;                                                                                                \
    }

PLAIN(refresh)
PLAIN(sync)
PLAIN(accept_clock)

// One that takes nothing, and gives JSON.
#define TELLS(name, call)                                                                                              \
    static PyObject *engine_##name(PyObject *self, PyObject *unused) {                                                 \
        ringlane_error error;                                                                                          \
        ringlane_text *text;                                                                                           \
        (void)unused;                                                                                                  \
        void *handle = handle_in(self, "engine");                                                                      \
        if (handle == NULL) {                                                                                          \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(call(handle, &text, &error));                                                                             \
        return take_text(text);                                                                                        \
    }

TELLS(stats, ringlane_engine_stats)
TELLS(recovery, ringlane_engine_recovery)
TELLS(topics, ringlane_topic_list)
TELLS(producers, ringlane_producer_list)

// One that takes a name.
#define NAMED(name, call)                                                                                              \
    static PyObject *engine_##name(PyObject *self, PyObject *argument) {                                               \
        ringlane_error error;                                                                                          \
        void *handle = handle_in(self, "engine");                                                                      \
        const char *text = handle == NULL ? NULL : text_of(argument, "name");                                          \
        if (text == NULL) {                                                                                            \
            return NULL;                                                                                               \
        }                                                                                                              \
        CALL(call(handle, text, &error));                                                                              \
        Py_RETURN_NONE;                                                                                                \
    }

NAMED(delete_topic, ringlane_topic_delete)
NAMED(delete_producer, ringlane_producer_delete)
NAMED(delete_group, ringlane_group_delete)
NAMED(unregister_checker, ringlane_checker_unregister)

static PyObject *engine_audit(PyObject *self, PyObject *given) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    ringlane_text *text;
    void *handle = handle_in(self, "engine");
    if (handle == NULL || options_of(RINGLANE_OPTIONS_AUDIT, given, &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_engine_audit(handle, options, &text, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    return status == RINGLANE_OK ? take_text(text) : raise_error(&error);
}

static PyObject *engine_create_topic(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    ringlane_topic *topic;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(args[0], "name");
    if (name == NULL || options_of(RINGLANE_OPTIONS_TOPIC, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_topic_create(handle, name, options, &topic, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    return status == RINGLANE_OK ? topic_from(topic, args[0]) : raise_error(&error);
}

static PyObject *engine_topic(PyObject *self, PyObject *given) {
    ringlane_error error;
    ringlane_topic *topic;
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(given, "name");
    if (name == NULL) {
        return NULL;
    }
    CALL(ringlane_topic_open(handle, name, &topic, &error));
    return topic_from(topic, given);
}

static PyObject *engine_set_retention(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(args[0], "name");
    if (name == NULL || options_of(RINGLANE_OPTIONS_TOPIC, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_topic_set_retention(handle, name, options, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Py_RETURN_NONE;
}

static PyObject *engine_delete_records(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    uint64_t before, first;
    COUNT_ARGUMENTS(3)
    void *handle = handle_in(self, "engine"), *topic = handle_of(args[0], topic_type, "a topic");
    if (handle == NULL || topic == NULL || narrow_of(args[1], "partition", &partition) < 0 ||
        natural_of(args[2], "before_offset", &before) < 0) {
        return NULL;
    }
    CALL(ringlane_topic_delete_records(handle, topic, partition, before, &first, &error));
    return PyLong_FromUnsignedLongLong(first);
}

static PyObject *engine_publish_withheld(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t log, index;
    uint64_t position;
    COUNT_ARGUMENTS(3)
    void *handle = handle_in(self, "engine");
    if (handle == NULL || narrow_of(args[0], "log", &log) < 0 || natural_of(args[1], "position", &position) < 0 ||
        narrow_of(args[2], "index", &index) < 0) {
        return NULL;
    }
    CALL(ringlane_engine_publish_withheld(handle, log, position, index, &error));
    Py_RETURN_NONE;
}

static PyObject *engine_create_group(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(args[0], "name");
    if (name == NULL || options_of(RINGLANE_OPTIONS_GROUP, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_group_create(handle, name, options, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Py_RETURN_NONE;
}

// describe_group(name), None: all
static PyObject *engine_describe_group(PyObject *self, PyObject *given) {
    ringlane_error error;
    ringlane_text *text;
    void *handle = handle_in(self, "engine");
    const char *name = NULL;
    if (handle == NULL || (given != Py_None && (name = text_of(given, "name")) == NULL)) {
        return NULL;
    }
    CALL(ringlane_group_describe(handle, name, &text, &error));
    return take_text(text);
}

// reset_group(name, topic, partition, start, value) -> offset
static PyObject *engine_reset_group(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    uint32_t partition;
    int32_t start;
    int64_t value;
    uint64_t offset;
    COUNT_ARGUMENTS(5)
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(args[0], "name");
    const char *topic = name == NULL ? NULL : text_of(args[1], "topic");
    if (topic == NULL || narrow_of(args[2], "partition", &partition) < 0 || start_of(args + 3, &start, &value) < 0) {
        return NULL;
    }
    CALL(ringlane_group_reset(handle, name, topic, partition, start, value, &offset, &error));
    return PyLong_FromUnsignedLongLong(offset);
}

// redrive(name, what, topic, partition, offset) -> JSON
static PyObject *engine_redrive(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_text *text;
    uint32_t partition;
    uint64_t offset;
    int64_t what;
    const char *topic = NULL;
    COUNT_ARGUMENTS(5)
    void *handle = handle_in(self, "engine");
    const char *name = handle == NULL ? NULL : text_of(args[0], "name");
    if (name == NULL || integer_of(args[1], "what", &what) < 0 ||
        (args[2] != Py_None && (topic = text_of(args[2], "topic")) == NULL) ||
        narrow_of(args[3], "partition", &partition) < 0 || natural_of(args[4], "offset", &offset) < 0) {
        return NULL;
    }
    CALL(ringlane_group_redrive(handle, name, (int32_t)what, topic, partition, offset, &text, &error));
    return take_text(text);
}

// describe_transaction(id or None, with_ended) -> JSON
static PyObject *engine_describe_transaction(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_text *text;
    const char *id = NULL;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    int with_ended = PyObject_IsTrue(args[1]);
    if (handle == NULL || with_ended < 0 || (args[0] != Py_None && (id = text_of(args[0], "id")) == NULL)) {
        return NULL;
    }
    CALL(ringlane_transaction_describe(handle, id, with_ended, &text, &error));
    return take_text(text);
}

// decide_transaction(id, commits)
static PyObject *engine_decide_transaction(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    int commits = PyObject_IsTrue(args[1]);
    const char *id = handle == NULL ? NULL : text_of(args[0], "id");
    if (id == NULL || commits < 0) {
        return NULL;
    }
    CALL(ringlane_transaction_decide(handle, id, commits, &error));
    Py_RETURN_NONE;
}

// register_checker(name, options, queue)
static PyObject *engine_register_checker(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    COUNT_ARGUMENTS(3)
    void *handle = handle_in(self, "engine"), *queue = handle_of(args[2], queue_type, "a queue");
    const char *name = handle == NULL || queue == NULL ? NULL : text_of(args[0], "name");
    if (name == NULL || options_of(RINGLANE_OPTIONS_CHECKER, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_checker_register(handle, name, options, queue, 0, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Py_RETURN_NONE;
}

// Opens something of an engine's with options.
#define OPENS(name, kind, options_kind, call)                                                                          \
    static PyObject *engine_##name(PyObject *self, PyObject *given) {                                                  \
        ringlane_error error;                                                                                          \
        ringlane_status status;                                                                                        \
        ringlane_options *options;                                                                                     \
        ringlane_##kind *opened;                                                                                       \
        void *handle = handle_in(self, "engine");                                                                      \
        if (handle == NULL || options_of(options_kind, given, &options) < 0) {                                         \
            return NULL;                                                                                               \
        }                                                                                                              \
        Py_BEGIN_ALLOW_THREADS                                                                                         \
        status = call(handle, options, &opened, &error);                                                               \
        ringlane_options_free(options, NULL);                                                                          \
        Py_END_ALLOW_THREADS                                                                                           \
        if (status != RINGLANE_OK) {                                                                                   \
            return raise_error(&error);                                                                                \
        }                                                                                                              \
        Handle *made = handle_new(kind##_type, opened);                                                                \
        if (made == NULL) {                                                                                            \
            ringlane_##kind##_free(opened, NULL);                                                                      \
        }                                                                                                              \
        return (PyObject *)made;                                                                                       \
    }

OPENS(producer, producer, RINGLANE_OPTIONS_PRODUCER, ringlane_producer_open)
OPENS(consumer, consumer, RINGLANE_OPTIONS_CONSUMER, ringlane_consumer_open)

// join(group, options)
static PyObject *engine_join(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    ringlane_error error;
    ringlane_status status;
    ringlane_options *options;
    ringlane_member *member;
    COUNT_ARGUMENTS(2)
    void *handle = handle_in(self, "engine");
    const char *group = handle == NULL ? NULL : text_of(args[0], "group");
    if (group == NULL || options_of(RINGLANE_OPTIONS_MEMBER, args[1], &options) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = ringlane_member_join(handle, group, options, &member, &error);
    ringlane_options_free(options, NULL);
    Py_END_ALLOW_THREADS
    if (status != RINGLANE_OK) {
        return raise_error(&error);
    }
    Handle *made = handle_new(member_type, member);
    if (made == NULL) {
        ringlane_member_free(member, NULL);
    }
    return (PyObject *)made;
}

static PyMethodDef engine_methods[] = {
    {"close", engine_close, METH_NOARGS, NULL},
    {"refresh", engine_refresh, METH_NOARGS, NULL},
    {"sync", engine_sync, METH_NOARGS, NULL},
    {"accept_clock", engine_accept_clock, METH_NOARGS, NULL},
    {"stats", engine_stats, METH_NOARGS, NULL},
    {"recovery", engine_recovery, METH_NOARGS, NULL},
    {"audit", engine_audit, METH_O, NULL},
    FAST("create_topic", engine_create_topic),
    {"topic", engine_topic, METH_O, NULL},
    {"topics", engine_topics, METH_NOARGS, NULL},
    {"delete_topic", engine_delete_topic, METH_O, NULL},
    FAST("set_retention", engine_set_retention),
    FAST("delete_records", engine_delete_records),
    FAST("publish_withheld", engine_publish_withheld),
    {"producers", engine_producers, METH_NOARGS, NULL},
    {"delete_producer", engine_delete_producer, METH_O, NULL},
    FAST("create_group", engine_create_group),
    {"describe_group", engine_describe_group, METH_O, NULL},
    FAST("reset_group", engine_reset_group),
    {"delete_group", engine_delete_group, METH_O, NULL},
    FAST("redrive", engine_redrive),
    FAST("describe_transaction", engine_describe_transaction),
    FAST("decide_transaction", engine_decide_transaction),
    FAST("register_checker", engine_register_checker),
    {"unregister_checker", engine_unregister_checker, METH_O, NULL},
    {"producer", engine_producer, METH_O, NULL},
    {"consumer", engine_consumer, METH_O, NULL},
    FAST("join", engine_join),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_dealloc, engine_dealloc}, {Py_tp_methods, engine_methods}, {Py_tp_getset, handle_getset}, {0, NULL},
};

static PyType_Spec engine_spec = {"ringlane._native.Engine", sizeof(Handle), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, engine_slots};

// ----- the module -----

// setup(make_error, invalid_state, main_thread)
static PyObject *native_setup(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    uint64_t ident;
    (void)module;
    COUNT_ARGUMENTS(3)
    if (natural_of(args[2], "main_thread", &ident) < 0) {
        return NULL;
    }
    Py_INCREF(args[0]);
    Py_XDECREF(make_error);
    make_error = args[0];
    Py_INCREF(args[1]);
    Py_XDECREF(invalid_state);
    invalid_state = args[1];
    main_thread = (unsigned long)ident;
    Py_RETURN_NONE;
}

static PyObject *native_status_name(PyObject *module, PyObject *status) {
    int64_t number;
    (void)module;
    if (integer_of(status, "status", &number) < 0) {
        return NULL;
    }
    return PyUnicode_FromString(ringlane_status_name((ringlane_status)number));
}

// taken(records) -> a tuple of what `send_many` takes, of which nothing changes any more.
static PyObject *native_taken(PyObject *module, PyObject *given) {
    (void)module;
    if (PyUnicode_Check(given) || PyBytes_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "expected an iterable of records, not one value");
        return NULL;
    }
    PyObject *list = PySequence_List(given), *octets;
    for (Py_ssize_t i = 0; list != NULL && i < PyList_Size(list); i++) {
        PyObject *item = PyList_GetItem(list, i);
        if (PyBytes_Check(item) || item == Py_None || PyObject_TypeCheck(item, (PyTypeObject *)new_record_type) ||
            PyObject_TypeCheck(item, (PyTypeObject *)record_type)) {
            continue;
        }
        if (octets_of(item, "each record", 0, &octets) < 0 || PyList_SetItem(list, i, octets) < 0) {
            Py_CLEAR(list);
        }
    }
    PyObject *result = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return result;
}

// bytes_of(records): what they take of the send buffer, about.
static PyObject *native_bytes_of(PyObject *module, PyObject *given) {
    Many many;
    (void)module;
    if (many_begin(&many, given, Py_None) < 0) {
        return NULL;
    }
    uint64_t bytes = many.bytes;
    many_end(&many);
    return PyLong_FromUnsignedLongLong(bytes);
}

static PyMethodDef native_methods[] = {
    {"taken", native_taken, METH_O, NULL},
    {"bytes_of", native_bytes_of, METH_O, NULL},
    FAST("setup", native_setup),
    FAST("open", native_open),
    {"queue", queue_new, METH_NOARGS, NULL},
    {"status_name", native_status_name, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT, "ringlane._native", "The C ABI of Ringlane; see the package ringlane.", -1, native_methods,
    NULL, NULL, NULL, NULL,
};

static int add_type(PyObject *module, PyType_Spec *spec, PyObject **type, const char *name) {
    *type = PyType_FromSpec(spec);
    return *type == NULL ? -1 : PyModule_AddObjectRef(module, name, *type);
}

PyMODINIT_FUNC PyInit__native(void) {
    if (ringlane_abi_version() < RINGLANE_ABI_VERSION) {
        PyErr_Format(PyExc_ImportError, "the library has version %u of the ABI, and version %u is needed",
                     (unsigned int)ringlane_abi_version(), (unsigned int)RINGLANE_ABI_VERSION);
        return NULL;
    }
    PyObject *module = PyModule_Create(&native_module);
    if (module == NULL) {
        return NULL;
    }
    text_set_result = PyUnicode_InternFromString("set_result");
    text_set_exception = PyUnicode_InternFromString("set_exception");
    text_total_seconds = PyUnicode_InternFromString("total_seconds");
    text_timestamp = PyUnicode_InternFromString("timestamp");
    if (text_set_result == NULL || text_set_exception == NULL || text_total_seconds == NULL || text_timestamp == NULL ||
        add_type(module, &receipt_spec, &receipt_type, "Receipt") < 0 ||
        add_type(module, &new_record_spec, &new_record_type, "NewRecord") < 0 ||
        add_type(module, &record_spec, &record_type, "Record") < 0 ||
        add_type(module, &batch_spec, &batch_type, "Batch") < 0 ||
        add_type(module, &slice_spec, &slice_type, "Slice") < 0 ||
        add_type(module, &view_spec, &view_type, "RecordView") < 0 ||
        add_type(module, &queue_spec, &queue_type, "Queue") < 0 ||
        add_type(module, &topic_spec, &topic_type, "Topic") < 0 ||
        add_type(module, &producer_spec, &producer_type, "Producer") < 0 ||
        add_type(module, &consumer_spec, &consumer_type, "Consumer") < 0 ||
        add_type(module, &member_spec, &member_type, "Member") < 0 ||
        add_type(module, &transaction_spec, &transaction_type, "Transaction") < 0 ||
        add_type(module, &engine_spec, &engine_type, "Engine") < 0 ||
        PyModule_AddStringConstant(module, "library_version", ringlane_version()) < 0 ||
        PyModule_AddIntConstant(module, "abi_version", (long)ringlane_abi_version()) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
