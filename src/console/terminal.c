/* A person at a terminal: libedit edits the line, this file gives it what the cluster knows.
 *
 * While the line is being typed the terminal, the connection and Ctrl-C are waited for
 * together: the prompt follows the node's role, a broken connection shows as `not connected>`
 * and is mended by itself, through another address of the list if need be. While a statement
 * runs the keys are left in the terminal's queue (unechoed), so that what is typed or pasted
 * ahead becomes the next lines.
 *
 * What may follow on the line stands at the right edge while there is room for it (libedit has
 * a right prompt, but no hints behind the cursor). Tab asks the node. */
#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/log.h"
#include "base/mem.h"
#include "console/console_impl.h"
#include "console/history.h"
#include "console/interrupt.h"

#define IDLE_MS   200  /* how soon another role, size or connection is noticed */
#define ASK_MS    500  /* between two questions for the prompt */
#define SILENT_MS 2500 /* a node that owes its answer so long is shown as not answering */
#define LATIN_ESC '\1' /* encloses colour codes in prompts */

struct terminal {
    struct console *c;
    EditLine *el;
    History *past;
    char path[4096]; /* of the history; "" for none */
    struct buf prompt, more, hint, shown_hint, answer, insert, show, line;
    const char *question; /* instead of the prompt: an argument is asked for */
    const char *prefix;   /* ... of this line */
    char drawn[512];      /* the prompt that is on the screen */
    uint64_t asked_ms;
    unsigned defined;      /* session whose commands are known */
    struct buf defined_at; /* ... and what its prompt said then */
    unsigned logged;       /* lines that the node has logged over the prompt */
    struct winsize size;
    bool connected;
    mbstate_t bytes;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct span text_of(const struct buf *b)
{
    return span_make(b->data != NULL ? (const char *)b->data : "", b->len);
}

static void end_text(struct buf *b) /* a NUL behind it that does not count */
{
    buf_put_u8(b, 0);
    b->len -= !b->failed;
}

static struct terminal *terminal_of(EditLine *el)
{
    struct terminal *t = NULL;
    (void)el_get(el, EL_CLIENTDATA, &t);
    return t;
}

/* ---- Prompt and hint ------------------------------------------------------------------------ */

static char *prompt(EditLine *el)
{
    struct terminal *t = terminal_of(el);
    const struct buf *b = t->c->statement.len > 0 ? &t->more : &t->prompt;
    const char *text = t->question != NULL ? t->question
                       : b->data != NULL   ? (const char *)b->data
                                           : "> ";
    (void)snprintf(t->drawn, sizeof t->drawn, "%s", text);
    return t->drawn;
}

static char *right_prompt(EditLine *el)
{
    const struct terminal *t = terminal_of(el);
    return t->shown_hint.len > 0 ? (char *)t->shown_hint.data : (char *)(uintptr_t) "";
}

/* True when the prompt is another one now. */
static bool make_prompt(struct terminal *t)
{
    struct console *c = t->c;
    struct buf next = BUF_INIT;
    struct span status = t->connected ? client_prompt(c->client) : span_make("", 0);
    bool silent = client_silent_ms(c->client) > SILENT_MS;
    struct span args[] = { status, span_of(c->o->profile != NULL ? c->o->profile : ""),
                           span_of("yes") };
    if (t->connected && status.len == 0) {
        buf_printf(&next, "%s> ", client_address(c->client)); /* not heard of yet */
    } else {
        (void)render_assist_json(c->render, "prompt", args, silent ? 3 : 2, &next, NULL);
    }
    end_text(&next);
    if (next.failed || (t->prompt.data != NULL && span_eq(text_of(&next), text_of(&t->prompt)))) {
        buf_free(&next);
        return false;
    }
    buf_free(&t->prompt);
    t->prompt = next;
    struct span arg = text_of(&t->prompt);
    (void)render_assist(c->render, "more", &arg, 1, &t->more, NULL);
    end_text(&t->more);
    return true;
}

/* True when the hint is another one now. It is cut to what is free on the line. */
static bool make_hint(struct terminal *t)
{
    const LineInfo *li = el_line(t->el);
    struct span line = span_make(li->buffer, (size_t)(li->lastchar - li->buffer));
    struct buf *out = &t->line;
    buf_clear(&t->hint);
    if (t->question == NULL && t->c->statement.len == 0 && line.len > 0 &&
        li->cursor == li->lastchar && memchr(line.data, '\n', line.len) == NULL) {
        (void)render_assist(t->c->render, "hint", &line, 1, &t->hint, NULL);
    }
    int room = t->size.ws_col - (int)t->prompt.len - (int)line.len - 4;
    bool colour = getenv("NO_COLOR") == NULL;
    buf_clear(out);
    if (t->hint.len > 0 && room >= 8) {
        int len = (int)t->hint.len <= room ? (int)t->hint.len : room - 3;
        const char *dots = (int)t->hint.len <= room ? "" : "...";
        buf_printf(out, colour ? "\1\33[2m\1%.*s%s\1\33[0m\1" : "%.*s%s", len, (char *)t->hint.data,
                   dots);
    }
    end_text(out);
    if (out->failed || span_eq(text_of(out), text_of(&t->shown_hint))) {
        return false;
    }
    struct buf old = t->shown_hint;
    t->shown_hint = *out;
    *out = old;
    return true;
}

static bool size_changed(struct terminal *t)
{
    struct winsize now;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0 ||
        (now.ws_col == t->size.ws_col && now.ws_row == t->size.ws_row)) {
        return false;
    }
    t->size = now;
    return true;
}

/* Moves over text as the terminal shows it. */
static void advance(struct span text, int columns, int *row, int *column)
{
    mbstate_t state = { 0 };
    for (size_t at = 0; at < text.len;) {
        wchar_t c;
        size_t n = mbrtowc(&c, text.data + at, text.len - at, &state);
        if (n == 0 || n > text.len - at) {
            n = 1;
            c = L'?';
            memset(&state, 0, sizeof state);
        }
        int width = c == L'\n' ? 0 : wcwidth(c);
        width = width < 0 ? 2 : width; /* ^X */
        if (c == L'\n' || *column + width > columns) {
            (*row)++;
            *column = 0;
        }
        *column += width;
        at += n;
    }
}

/* Draws the line again from its first row on. libedit takes the cursor to be there already. */
static void redraw(struct terminal *t)
{
    const LineInfo *li = el_line(t->el);
    int row = 0, column = 0, columns = t->size.ws_col > 0 ? t->size.ws_col : 80;
    advance(span_of(t->drawn), columns, &row, &column);
    advance(span_make(li->buffer, (size_t)(li->cursor - li->buffer)), columns, &row, &column);
    row += column >= columns;
    if (row > 0) {
        (void)printf("\33[%dA", row);
    }
    (void)printf("\r\33[J");
    (void)fflush(stdout);
    (void)el_set(t->el, EL_REFRESH);
}

/* The node's own log lines have taken the prompt away: draws it below them. */
static bool draw_below_log(struct terminal *t)
{
    unsigned lines = log_shared_lines();
    if (lines == t->logged) {
        return false;
    }
    t->logged = lines;
    (void)printf("\r\33[J");
    (void)fflush(stdout);
    (void)el_set(t->el, EL_REFRESH);
    return true;
}

/* What the node can do, for hints and questions: once per session, and again when its prompt says
 * something else, such as another number of changes of the commands. */
static void define_commands(struct terminal *t)
{
    struct buf json = BUF_INIT;
    struct error e;
    struct span word = span_of("commands");
    struct span now = client_prompt(t->c->client);
    bool known = t->defined == client_sessions(t->c->client);
    if (known && (now.len == 0 || span_eq(now, text_of(&t->defined_at)))) {
        return;
    }
    t->defined = client_sessions(t->c->client);
    buf_clear(&t->defined_at);
    buf_put(&t->defined_at, now.data, now.len);
    if (client_definitions(t->c->client, word, &json, &e) == 0) {
        struct span text = text_of(&json);
        (void)render_assist_json(t->c->render, "define", &text, 1, NULL, NULL);
    }
    buf_free(&json);
}

/* What happens beside the typing. True when the screen must be drawn again. */
static bool idle(struct terminal *t)
{
    struct client *client = t->c->client;
    struct error e;
    uint64_t now = now_ms();
    bool due = now - t->asked_ms >= ASK_MS;
    t->asked_ms = due ? now : t->asked_ms;
    t->connected = client_idle(client, due);
    if (!t->connected && due) {
        t->connected = client_reconnect(client, &e);
        if (t->connected) {
            define_commands(t);
            (void)client_idle(client, true);
        }
    } else if (t->connected) {
        define_commands(t);
    }
    bool changed = make_prompt(t);
    if (size_changed(t)) {
        el_resize(t->el);
        changed = true;
    }
    return changed;
}

/* ---- Reading keys --------------------------------------------------------------------------- */

static bool input_pending(void)
{
    struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
    return poll(&p, 1, 0) > 0;
}

static bool node_stops(const struct terminal *t)
{
    return t->c->o->stop != NULL && *t->c->o->stop != 0;
}

/* A line that is done with keeps no hint on the screen. */
static void drop_hint(struct terminal *t)
{
    if (t->shown_hint.len > 0) {
        buf_clear(&t->shown_hint);
        end_text(&t->shown_hint);
        redraw(t);
    }
}

/* Waits for a key and for everything else. 1: there is one; -1: Ctrl-C, or the node stops. */
static int wait_key(struct terminal *t)
{
    while (true) {
        if (interrupt_count() > 0 || node_stops(t)) {
            drop_hint(t);
            errno = EINTR;
            return -1;
        }
        if (input_pending()) {
            return 1;
        }
        bool draw = make_hint(t);
        draw = idle(t) || draw;
        if (!draw_below_log(t) && draw) {
            redraw(t);
        }
        struct pollfd p[3] = { { STDIN_FILENO, POLLIN, 0 },
                               { interrupt_fd(), POLLIN, 0 },
                               { client_fd(t->c->client), POLLIN, 0 } };
        (void)poll(p, 3, IDLE_MS);
    }
}

/* libedit's source of characters: 1, 0 at the end, -1 for an interrupt. */
static int read_key(EditLine *el, wchar_t *out)
{
    struct terminal *t = terminal_of(el);
    while (true) {
        char byte;
        if (wait_key(t) < 0) {
            return -1;
        }
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (n <= 0) {
            return 0;
        }
        size_t rc = mbrtowc(out, &byte, 1, &t->bytes);
        if (rc == (size_t)-2) {
            continue; /* the rest of the character comes */
        }
        if (rc == (size_t)-1) {
            memset(&t->bytes, 0, sizeof t->bytes);
            continue; /* not a character */
        }
        *out = rc == 0 ? L'\0' : *out;
        if (*out == L'\n' || *out == L'\r') {
            drop_hint(t);
        }
        return 1;
    }
}

/* ---- Tab --------------------------------------------------------------------------------------
 */

/* The text up to the cursor as the node has to see it. */
static void typed_text(struct terminal *t, struct buf *out)
{
    const LineInfo *li = el_line(t->el);
    buf_clear(out);
    if (t->question != NULL) {
        buf_put_str(out, t->prefix);
        buf_put_u8(out, ' ');
    } else if (t->c->statement.len > 0) {
        buf_put(out, t->c->statement.data, t->c->statement.len);
        buf_put_u8(out, '\n');
    }
    buf_put(out, li->buffer, (size_t)(li->cursor - li->buffer));
}

static unsigned char on_tab(EditLine *el, int key)
{
    struct terminal *t = terminal_of(el);
    struct buf typed = BUF_INIT;
    struct error e;
    char width[16];
    (void)key;
    typed_text(t, &typed);
    unsigned char result = CC_ERROR;
    if (client_complete(t->c->client, text_of(&typed), &t->answer, &e) == 0) {
        (void)snprintf(width, sizeof width, "%d", t->size.ws_col);
        struct span args[] = { text_of(&t->answer), text_of(&typed), span_of(width) };
        (void)render_assist_json(t->c->render, "tab", args, 3, &t->insert, &t->show);
        end_text(&t->insert);
        if (t->insert.len > 0 && el_insertstr(el, (char *)t->insert.data) == 0) {
            result = CC_REFRESH;
        } else if (t->show.len > 0) {
            (void)printf("\n%.*s\n", (int)t->show.len, (char *)t->show.data);
            (void)fflush(stdout);
            result = CC_REDISPLAY;
        }
    }
    buf_free(&typed);
    return result;
}

/* ---- Lines --------------------------------------------------------------------------------------
 */

/* While statements run: keys are neither shown nor taken, Ctrl-C is a signal. */
static void quiet(void)
{
    struct termios mode;
    if (tcgetattr(STDIN_FILENO, &mode) == 0) {
        mode.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        mode.c_lflag |= ISIG;
        mode.c_cc[VMIN] = 1;
        mode.c_cc[VTIME] = 0;
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
    }
}

enum read_result { READ_LINE, READ_CANCELED, READ_END };

static enum read_result read_line(struct terminal *t, struct span *out)
{
    int count = 0;
    interrupt_clear();
    const char *line = el_gets(t->el, &count);
    quiet();
    if (line == NULL && (interrupt_count() > 0 || node_stops(t))) {
        interrupt_clear();
        (void)printf("^C\n");
        return node_stops(t) ? READ_END : READ_CANCELED;
    }
    if (line == NULL || count <= 0) {
        (void)printf("\n");
        return READ_END;
    }
    size_t len = (size_t)count;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
        len--;
    }
    *out = span_make(line, len);
    return READ_LINE;
}

/* Asks for one thing; false: the user left it. */
static bool ask(struct terminal *t, const char *question, const char *prefix, struct span *answer)
{
    t->question = question;
    t->prefix = prefix;
    enum read_result r = read_line(t, answer);
    t->question = t->prefix = NULL;
    return r == READ_LINE;
}

/* Asks for what is missing on a command line, in t->line. False: left. */
static bool complete_arguments(struct terminal *t, struct buf *line)
{
    struct buf question = BUF_INIT, dflt = BUF_INIT, next = BUF_INIT, many = BUF_INIT;
    bool started = false, good = true;
    while (good) {
        struct span args[] = { text_of(line), span_of("started") };
        if (!render_assist(t->c->render, "ask", args, started ? 2 : 1, &question, &dflt)) {
            break;
        }
        (void)render_assist(t->c->render, "asks_many", args, 1, &many, NULL);
        struct span answer;
        buf_put_str(&question, ": ");
        end_text(&question);
        end_text(line);
        started = true;
        good = ask(t, (char *)question.data, (char *)line->data, &answer);
        if (good && console_is_blank(answer)) {
            answer = text_of(&dflt);
        }
        if (!good || answer.len == 0 || span_is(answer, "cancel")) {
            (void)printf("left, nothing was done\n");
            good = false;
        } else {
            struct span parts[] = { text_of(line), answer, text_of(&many) };
            (void)render_assist(t->c->render, "add", parts, many.len > 0 ? 3 : 2, &next, NULL);
            struct buf old = *line;
            *line = next;
            next = old;
        }
    }
    if (good && started) {
        (void)printf("%.*s\n", (int)line->len, (char *)line->data);
    }
    buf_free(&question);
    buf_free(&dflt);
    buf_free(&next);
    buf_free(&many);
    return good;
}

/* Shows what a change of the cluster would do to its quorum. False: it is refused already. */
static bool show_first(struct terminal *t, const struct buf *line)
{
    struct console *c = t->c;
    struct buf dry = BUF_INIT;
    bool failed = c->failed;
    buf_put(&dry, line->data, line->len);
    buf_put_str(&dry, " --dry-run");
    c->failed = false;
    console_feed(c, text_of(&dry));
    bool good = !c->failed;
    c->failed = c->failed || failed;
    buf_free(&dry);
    return good;
}

/* Dangerous commands ask first. False: the user said no. */
static bool confirmed(struct terminal *t, struct buf *line)
{
    struct buf before = BUF_INIT, question = BUF_INIT, plain = BUF_INIT;
    struct span arg = text_of(line), answer = { "", 0 };
    (void)render_assist(t->c->render, "before", &arg, 1, &before, NULL);
    bool none = span_is(text_of(&before), "none");
    bool go = !span_is(text_of(&before), "show") || show_first(t, line);
    buf_free(&before);
    if (!go || none) {
        return go;
    }
    if (render_assist(t->c->render, "confirm", &arg, 1, &question, &plain)) {
        end_text(&question);
        go = ask(t, (char *)question.data, "", &answer) && answer.len > 0 &&
             (answer.data[0] == 'y' || answer.data[0] == 'Y');
        if (!go) {
            (void)printf("left, nothing was done\n");
        }
    } else if (plain.len > 0) { /* without --yes */
        struct buf old = *line;
        *line = plain;
        plain = old;
    }
    buf_free(&question);
    buf_free(&plain);
    return go;
}

/* ---- History ------------------------------------------------------------------------------------
 */

static void enter(void *arg, const char *statement)
{
    struct terminal *t = arg;
    HistEvent event;
    (void)history(t->past, &event, H_ENTER, statement);
}

static void remember(struct terminal *t, struct buf *statement)
{
    struct span text = text_of(statement);
    if (text.len == 0 || text.data[0] == ' ') {
        return;
    }
    end_text(statement);
    enter(t, (const char *)statement->data);
    if (t->path[0] != 0 && render_assist(t->c->render, "keep", &text, 1, NULL, NULL)) {
        history_append(t->path, text);
    }
}

static bool show_history(struct terminal *t, struct span line)
{
    struct buf verb = BUF_INIT, count = BUF_INIT;
    HistEvent event;
    bool mine = render_assist(t->c->render, "own", &line, 1, &verb, &count) &&
                span_is(text_of(&verb), "history");
    end_text(&count);
    int left = mine && count.len > 0 ? atoi((char *)count.data) : HISTORY_LINES;
    int rc = mine ? history(t->past, &event, H_FIRST) : -1;
    for (; rc >= 0 && left > 1; left--) {
        rc = history(t->past, &event, H_NEXT);
    }
    for (rc = !mine    ? -1
              : rc < 0 ? history(t->past, &event, H_LAST)
                       : 0;
         rc >= 0; rc = history(t->past, &event, H_PREV)) {
        (void)printf("%s\n", event.str);
    }
    buf_free(&verb);
    buf_free(&count);
    return mine;
}

/* ---- The loop
 * ------------------------------------------------------------------------------------- */

static void take_line(struct terminal *t, struct span line)
{
    struct console *c = t->c;
    struct buf text = BUF_INIT, whole = BUF_INIT;
    buf_put(&text, line.data, line.len);
    bool first = c->statement.len == 0;
    buf_put(&whole, c->statement.data, c->statement.len);
    if (!first) {
        buf_put_u8(&whole, '\n');
    }
    bool go = true;
    if (first && !console_is_blank(line)) {
        go = !show_history(t, line) && complete_arguments(t, &text) && confirmed(t, &text);
    }
    buf_put(&whole, text.data, text.len);
    if (go) {
        console_feed(c, text_of(&text));
        t->asked_ms = 0; /* it may have changed what the prompt says */
    }
    if (c->statement.len == 0 && !console_is_blank(text_of(&whole))) {
        remember(t, &whole);
    }
    buf_free(&text);
    buf_free(&whole);
}

static void set_up(struct terminal *t)
{
    HistEvent event;
    /* Names are UTF-8 whatever the locale is; only characters follow it. */
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
    t->el = el_init("usher", stdin, stdout, stderr);
    t->past = history_init();
    (void)history(t->past, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(t->past, &event, H_SETUNIQUE, 1);
    if (history_path(t->path, sizeof t->path)) {
        history_load(t->path, enter, t);
    } else {
        t->path[0] = 0;
    }
    (void)el_set(t->el, EL_CLIENTDATA, t);
    (void)el_set(t->el, EL_PROMPT, prompt);
    (void)el_set(t->el, EL_RPROMPT_ESC, right_prompt, LATIN_ESC);
    (void)el_set(t->el, EL_EDITOR, "emacs");
    (void)el_set(t->el, EL_SIGNAL, 0);
    (void)el_set(t->el, EL_HIST, history, t->past);
    (void)el_set(t->el, EL_GETCFN, read_key);
    /* Wide: libedit keeps copies of narrow names for ever. */
    (void)el_wset(t->el, EL_ADDFN, L"usher-complete", L"Completes from the node", on_tab);
    (void)el_set(t->el, EL_BIND, "^I", "usher-complete", NULL);
    (void)el_set(t->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)size_changed(t);
}

static void greet(const struct console *c)
{
    (void)printf("usher %s, connected to %s.\n"
                 "`help` lists the commands, Tab completes, Ctrl-D leaves%s.\n",
                 USHER_VERSION, client_address(c->client),
                 c->o->in_node ? " (the node goes on)" : "");
}

static void tear_down(struct terminal *t)
{
    history_end(t->past);
    el_end(t->el);
    struct buf *all[] = { &t->prompt, &t->more, &t->hint, &t->shown_hint, &t->answer,
                          &t->insert, &t->show, &t->line, &t->defined_at };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        buf_free(all[i]);
    }
}

/* A moment for the first prompt to be a whole one. */
static bool wait_prompt(struct terminal *t)
{
    for (int i = 0; i < 20 && t->connected && client_prompt(t->c->client).len == 0; i++) {
        struct pollfd p = { client_fd(t->c->client), POLLIN, 0 };
        (void)poll(&p, 1, 50);
        t->connected = client_idle(t->c->client, false);
    }
    return make_prompt(t);
}

void terminal_run(struct console *c)
{
    struct terminal t = { .c = c };
    struct termios before;
    bool kept = tcgetattr(STDIN_FILENO, &before) == 0;
    struct error e;
    log_share_terminal(c->o->in_node);
    set_up(&t);
    render_paged(c->render, true);
    greet(c);
    t.connected = client_reconnect(c->client, &e);
    if (!t.connected) {
        render_error(&e, span_make("", 0));
    } else {
        define_commands(&t);
        (void)client_idle(c->client, true);
        (void)wait_prompt(&t);
    }
    while (!c->leave && !node_stops(&t)) {
        struct span line;
        enum read_result r = read_line(&t, &line);
        if (r == READ_END && c->statement.len == 0) {
            break;
        }
        if (r != READ_LINE) { /* Ctrl-C drops the statement, Ctrl-D inside one too */
            buf_clear(&c->statement);
        } else {
            take_line(&t, line);
        }
    }
    tear_down(&t);
    log_share_terminal(false);
    if (kept) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    }
}
