/* Shared by the files of the RESP server; nobody else but their test includes it.
 *
 * A connection holds its requests in order of arrival. Each is a *slot*: answered in any
 * order, written in order. The slot at the head writes straight into conn->out, the others
 * into a buffer of their own until they are the head.
 *
 * Invariants
 *   N1 answers leave in the order of the requests
 *   N2 a slot is freed when it is done and written, or when the connection dies; before
 *      that its request is canceled with the service
 *   N3 nothing is parsed while the connection owes or waits for more than its limits
 *   N4 a connection that was told of a protocol error parses nothing more */
#ifndef USHER_NET_RESP_CONN_H
#define USHER_NET_RESP_CONN_H

#include <hiredis/read.h>
#include <uv.h>

#include "base/buf.h"
#include "base/limits.h"
#include "cluster/backup.h"
#include "net/resp/resp.h"

enum slot_kind {
    SLOT_DONE,    /* its answer is complete */
    SLOT_REQUEST, /* with the service */
    SLOT_AUTH,    /* its password is checked by a worker; nothing is parsed meanwhile */
    SLOT_WAITING, /* a console statement whose turn has not come */
    SLOT_RUNNING, /* the console statement that runs */
};

struct slot {
    struct slot *next;
    struct conn *conn;
    struct request request;
    struct span *argv;
    size_t argc, argv_cap;
    struct buf words;  /* the bytes of argv */
    struct buf answer; /* while not the head */
    enum slot_kind kind;
};

struct subscription {
    struct subscription *next;
    struct conn *conn;
    struct watch *watch;
    char event[ID_BYTES_MAX + 1];
};

struct auth_job;
struct conn_backup;

struct conn {
    struct conn *next, *prev;
    struct resp *server;
    uv_tcp_t tcp;
    uv_write_t write;
    struct env_defer flush;
    redisReader *reader;

    struct slot *head, *tail;
    size_t slots;          /* waiting */
    size_t slots_bytes;    /* of their words */
    struct slot *building; /* being parsed */
    size_t taken;          /* arguments of it so far */
    const char *bad;       /* what the parser objected to */

    struct buf out, sending; /* to be written; being written by uv_write */
    size_t sending_at;
    size_t pushed_out, pushed_sending; /* bytes of pushes among them, at most */
    bool writing;
    size_t waiting; /* what of both the server has counted in `untaken` */

    struct policy_user user;
    uint64_t seen_index; /* request.h: a connection reads its own writes */
    bool authenticated, resp3, multi, reading, eof, ending /* close when written */, closing;
    unsigned failures;
    uint64_t id, asked_ms /* last, or accepted */, partial_ms, stalled_ms;
    size_t untaken;  /* of `sending`, when stalled_ms was set */
    struct buf name; /* CLIENT SETNAME */
    struct auth_job *auth;

    struct subscription *subs;
    size_t subs_count;

    struct session *session;
    struct task *task;
    struct slot *running;
    bool task_paused, starting;
    struct conn_backup *backup;
    bool lingering; /* told that nothing more comes; what it sends is thrown away */
};

struct resp {
    struct resp_options o;
    struct conn *conns;
    size_t count;
    size_t untaken; /* bytes that wait until clients read */
    struct slot *spare;
    size_t spare_count;
    uv_timer_t sweep;
    uint64_t next_id;
    struct auth_job *auth_first, *auth_last; /* the first is with a worker */
    bool closing, sweep_closed, draining;
    void (*drained)(void *arg);
    void *drain_arg;
    void (*cb)(void *arg);
    void *arg;
    char in[64 * 1024]; /* every read of every connection; consumed at once */
};

/* conn.c */
void resp_conn_end(struct conn *c);   /* close when everything has been written */
void resp_conn_kill(struct conn *c);  /* close now */
void resp_conn_touch(struct conn *c); /* something was written or done: flush this turn */
void resp_finish(struct resp *r);

/* slot.c */
struct slot *slot_new(struct resp *r); /* NULL: out of memory */
void slot_free(struct slot *x);
void slot_append(struct conn *c, struct slot *x);
struct buf *slot_out(struct slot *x); /* where its answer goes now */
void slot_done(struct slot *x);       /* its answer is complete */
void slots_written(struct conn *c);   /* moves what is complete to conn->out */

/* parse.c */
int parse_new(struct conn *c); /* the reader */
void parse_feed(struct conn *c, const char *bytes, size_t len);
/* Parses what was fed as far as the limits allow. */
void resp_conn_parse(struct conn *c);
bool parse_at_start(const struct conn *c); /* between two requests */
bool resp_conn_has_room(const struct conn *c);

/* verbs.c: one parsed request */
void verb_dispatch(struct conn *c, struct slot *x);
void verb_error(struct slot *x, const struct error *e); /* answers it with the error */
void verb_ok(struct slot *x);
/* Makes x->request of its words after the first `skip`; service_submit() takes it. */
void verb_submit(struct conn *c, struct slot *x, size_t skip);
void verb_fail(struct slot *x, int code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
extern const char *const verb_names[]; /* the built-in ones, NULL-ended */

/* auth.c: AUTH, HELLO, RESET */
void auth_verb(struct conn *c, struct slot *x);
void auth_hello(struct conn *c, struct slot *x);
void auth_reset(struct conn *c);  /* back to what it was at the start */
void auth_forget(struct conn *c); /* it dies while a password of it is being checked */

/* admin.c: CLIENT, COMMAND, INFO */
void admin_client(struct conn *c, struct slot *x);
void admin_command(struct conn *c, struct slot *x);
void admin_info(struct conn *c, struct slot *x);

/* push.c: SUBSCRIBE and its pushes */
void push_subscribe(struct conn *c, struct slot *x);
void push_unsubscribe(struct conn *c, struct slot *x);
void push_free(struct conn *c);

/* session.c: the console protocol. True when the verb was one of it. */
bool session_verb(struct conn *c, struct slot *x);
void session_pump(struct conn *c); /* starts the next statement, resumes a paused one */
void session_free(struct conn *c);
/* Something runs for it that ends with its client: a statement, a script, a node command that
 * streams. */
bool session_streams(const struct conn *c);

/* backup.c: USHER.BACKUP. True when it was that verb. */
bool backup_verb(struct conn *c, struct slot *x);
void backup_pump(struct conn *c); /* asks for the next piece when there is room */
void backup_free(struct conn *c);
void backup_facts(struct buf *b, const struct backup_head *h, uint64_t bytes); /* JSON */

/* drain.c: true while the connection may stay open although it is done. */
bool drain_linger(struct conn *c);
void drain_check(struct resp *r);

/* out.c: RESP values */
void put_simple(struct buf *b, const char *text);
void put_error(struct buf *b, const struct error *e);
void put_int(struct buf *b, int64_t v);
void put_bulk(struct buf *b, struct span s);
void put_text(struct buf *b, const char *s);
void put_array(struct buf *b, size_t n);
void put_map(struct buf *b, bool resp3, size_t pairs);
void put_push(struct buf *b, bool resp3, size_t n);
void put_null(struct buf *b, bool resp3);

#endif
