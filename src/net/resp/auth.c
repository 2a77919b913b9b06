/* AUTH and HELLO. A password in plain text in the profile is checked at once; a slow hash by
 * a worker, one at a time, so that a flood of logins neither stops the loop nor takes the
 * workers away from the disk. While its password is checked, a connection is not parsed
 * further. AUTH_FAILURES_MAX wrong ones end it. */
#include <openssl/crypto.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/resp/conn.h"

struct auth_job {
    struct auth_job *next;
    uv_work_t work;
    struct resp *server;
    struct conn *conn; /* NULL: it has died */
    struct slot *slot;
    bool hello, right;
    struct buf name, password;
};

static void job_free(struct auth_job *j)
{
    if (j->password.data != NULL) {
        OPENSSL_cleanse(j->password.data, j->password.len);
    }
    buf_free(&j->name);
    buf_free(&j->password);
    mem_free(j);
}

static struct span view(const struct buf *b)
{
    return span_make(b->data != NULL ? (const char *)b->data : "", b->len);
}

static void put_hello(struct conn *c, struct slot *x)
{
    struct buf *b = slot_out(x);
    put_map(b, c->resp3, 7);
    put_text(b, "server");
    put_text(b, "usher");
    put_text(b, "version");
    put_text(b, USHER_VERSION);
    put_text(b, "proto");
    put_int(b, c->resp3 ? 3 : 2);
    put_text(b, "id");
    put_int(b, (int64_t)c->id);
    put_text(b, "mode");
    put_text(b, "standalone"); /* for clients: any node answers, none redirects */
    put_text(b, "role");
    put_text(b, "master");
    put_text(b, "modules");
    put_array(b, 0);
    slot_done(x);
}

static void right(struct conn *c, struct slot *x, bool hello, const struct policy_user *user)
{
    c->user = *user;
    c->authenticated = true;
    c->failures = 0;
    if (hello) {
        put_hello(c, x);
    } else {
        verb_ok(x);
    }
}

static void wrong(struct conn *c, struct slot *x)
{
    verb_fail(x, ERR_NOAUTH, "see `users` of the profile in config.lua",
              "wrong user name or password");
    if (++c->failures >= AUTH_FAILURES_MAX) {
        resp_conn_end(c);
    }
}

/* ---- Slow passwords ----------------------------------------------------------- */

static void job_run(uv_work_t *w)
{
    struct auth_job *j = w->data;
    j->right = access_check_slow(j->server->o.access, view(&j->name), view(&j->password));
}

static void job_next(struct resp *r);

static void job_finish(struct auth_job *j, struct policy_user *user)
{
    struct resp *r = j->server;
    struct conn *c = j->conn;
    r->auth_first = j->next;
    if (r->auth_first == NULL) {
        r->auth_last = NULL;
    }
    if (c != NULL) {
        c->auth = NULL;
        if (j->right) {
            right(c, j->slot, j->hello, user);
        } else {
            wrong(c, j->slot);
        }
        resp_conn_parse(c);
    }
    job_free(j);
}

static void job_done(uv_work_t *w, int status)
{
    struct auth_job *j = w->data;
    struct resp *r = j->server;
    struct policy_user user = { { "", 0 }, 0, NULL };
    (void)status;
    if (j->right) {
        access_learn(r->o.access, view(&j->name), view(&j->password), &user);
    }
    job_finish(j, &user);
    job_next(r);
    resp_finish(r);
}

/* What was learned meanwhile may make the next ones quick. */
static void job_next(struct resp *r)
{
    while (r->auth_first != NULL) {
        struct auth_job *j = r->auth_first;
        struct policy_user user = { { "", 0 }, 0, NULL };
        enum access_verdict v =
            j->conn == NULL ? ACCESS_WRONG
                            : access_check(r->o.access, view(&j->name), view(&j->password), &user);
        if (v == ACCESS_SLOW && uv_queue_work(r->o.loop, &j->work, job_run, job_done) == 0) {
            return;
        }
        j->right = v == ACCESS_RIGHT;
        job_finish(j, &user);
    }
}

static void job_start(struct conn *c, struct slot *x, struct span name, struct span password,
                      bool hello)
{
    struct resp *r = c->server;
    size_t waiting = 0;
    for (const struct auth_job *other = r->auth_first; other != NULL; other = other->next) {
        waiting++;
    }
    if (waiting >= AUTH_WAITING_MAX) {
        verb_fail(x, ERR_BUSY, "try again in a few seconds", "%zu logins wait on this node",
                  waiting);
        return;
    }
    struct auth_job *j = mem_zalloc(sizeof *j);
    if (j == NULL) {
        verb_fail(x, ERR_NOMEM, "try again", "out of memory");
        return;
    }
    j->work.data = j;
    j->server = r;
    j->conn = c;
    j->slot = x;
    j->hello = hello;
    buf_put(&j->name, name.data, name.len);
    buf_put(&j->password, password.data, password.len);
    x->kind = SLOT_AUTH;
    c->auth = j;
    bool idle = r->auth_first == NULL;
    if (r->auth_last != NULL) {
        r->auth_last->next = j;
    } else {
        r->auth_first = j;
    }
    r->auth_last = j;
    if (idle) {
        job_next(r);
    }
}

void auth_forget(struct conn *c)
{
    if (c->auth != NULL) {
        c->auth->conn = NULL;
        c->auth = NULL;
    }
}

/* ---- Verbs --------------------------------------------------------------------- */

static void check(struct conn *c, struct slot *x, struct span name, struct span password,
                  bool hello)
{
    struct policy_user user;
    if (access_count(c->server->o.access) == 0) {
        verb_fail(x, ERR_BADARG, "leave the password away",
                  "this node has no users: everybody on this machine is admin");
        return;
    }
    switch (access_check(c->server->o.access, name, password, &user)) {
    case ACCESS_RIGHT: right(c, x, hello, &user); break;
    case ACCESS_WRONG: wrong(c, x); break;
    case ACCESS_SLOW: job_start(c, x, name, password, hello); break;
    }
}

void auth_verb(struct conn *c, struct slot *x)
{
    if (x->argc != 2 && x->argc != 3) {
        verb_fail(x, ERR_BADARG, "usage: AUTH [USER] PASSWORD", "AUTH takes one or two arguments");
    } else if (x->argc == 2) {
        check(c, x, span_of("default"), x->argv[1], false);
    } else {
        check(c, x, x->argv[1], x->argv[2], false);
    }
}

void auth_hello(struct conn *c, struct slot *x)
{
    size_t i = 1;
    bool resp3 = c->resp3;
    struct span name = { NULL, 0 }, password = { NULL, 0 }, label = { NULL, 0 };
    if (x->argc > 1) {
        if (!span_is(x->argv[1], "2") && !span_is(x->argv[1], "3")) {
            /* Clients look for this very word and fall back to RESP2. */
            buf_put_str(slot_out(x),
                        "-NOPROTO BADARG protocol versions 2 and 3 are spoken here\r\n");
            slot_done(x);
            return;
        }
        resp3 = span_is(x->argv[1], "3");
        i = 2;
    }
    while (i < x->argc) {
        if (text_ieq(x->argv[i], span_of("AUTH")) && i + 2 < x->argc) {
            name = x->argv[i + 1];
            password = x->argv[i + 2];
            i += 3;
        } else if (text_ieq(x->argv[i], span_of("SETNAME")) && i + 1 < x->argc) {
            label = x->argv[i + 1];
            i += 2;
        } else {
            verb_fail(x, ERR_BADARG, "usage: HELLO [2|3] [AUTH USER PASSWORD] [SETNAME NAME]",
                      "HELLO does not know this option");
            return;
        }
    }
    c->resp3 = resp3;
    if (label.data != NULL && label.len <= ID_BYTES_MAX) {
        buf_clear(&c->name);
        buf_put(&c->name, label.data, label.len);
    }
    if (name.data != NULL && access_count(c->server->o.access) > 0) {
        check(c, x, name, password, true);
    } else {
        put_hello(c, x);
    }
}

void auth_reset(struct conn *c)
{
    c->user = access_anonymous(c->server->o.access);
    c->authenticated = false;
    c->failures = 0;
}
