/* See password.h. A password is never an argument: those are in the history of the shell and in
 * the list of processes. At a terminal it is read with the echo off, which Ctrl-C restores. */
#include "console/password.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "console/console.h"
#include "console/render.h"
#include "net/access.h"

#define LINE_BYTES (PASSWORD_BYTES_MAX + 2)

/* One line without its end; ERR_BADARG when there is none, or too much. */
static int read_line(FILE *in, const char *what, char line[LINE_BYTES], struct error *e)
{
    if (fgets(line, LINE_BYTES, in) == NULL) {
        return error_set(e, ERR_BADARG, "%s holds no password", what);
    }
    size_t n = strlen(line);
    if (n + 1 == LINE_BYTES && line[n - 1] != '\n') {
        return error_set(e, ERR_BADARG, "%s: a password has at most %d bytes", what,
                         PASSWORD_BYTES_MAX);
    }
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
        line[--n] = 0;
    }
    return n > 0 ? 0 : error_set(e, ERR_BADARG, "%s: the password is empty", what);
}

static int ask(const char *prompt, char line[LINE_BYTES], struct error *e)
{
    FILE *terminal = fopen("/dev/tty", "r+e");
    struct termios shown, hidden;
    if (terminal == NULL) {
        (void)error_set(e, ERR_BADARG, "a password is wanted, but there is no terminal to ask at");
        error_hint(e, "set $USHER_PASSWORD, or $USHER_PASSWORD_FILE to a file that holds it");
        return ERR_BADARG;
    }
    int fd = fileno(terminal);
    bool quiet = tcgetattr(fd, &shown) == 0;
    if (quiet) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)(ECHO | ISIG); /* Ctrl-C may not leave the echo off */
        (void)tcsetattr(fd, TCSAFLUSH, &hidden);
    }
    (void)dprintf(fd, "%s", prompt);
    int code = read_line(terminal, "the terminal", line, e);
    if (quiet) {
        (void)tcsetattr(fd, TCSAFLUSH, &shown);
    }
    (void)dprintf(fd, "\n");
    (void)fclose(terminal);
    if (code == 0 && strchr(line, 3) != NULL) { /* Ctrl-C */
        code = error_set(e, ERR_CANCELED, "interrupted");
    }
    return code;
}

static int from_file(const char *path, char line[LINE_BYTES], struct error *e)
{
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        (void)error_set(e, ERR_BADARG, "cannot read the password file %s", path);
        error_hint(e, "$USHER_PASSWORD_FILE names it");
        return ERR_BADARG;
    }
    int code = read_line(in, path, line, e);
    (void)fclose(in);
    return code;
}

int password_find(const char *user, char **out, struct error *e)
{
    char line[LINE_BYTES], prompt[ID_BYTES_MAX + 32];
    const char *given = getenv("USHER_PASSWORD"), *path = getenv("USHER_PASSWORD_FILE");
    int code = 0;
    *out = NULL;
    if (user == NULL) { /* the variables may be there for another program */
        return 0;
    }
    if (given != NULL && given[0] != 0) {
        *out = mem_strndup(given, strlen(given));
        return 0;
    }
    if (path != NULL && path[0] != 0) {
        code = from_file(path, line, e);
    } else {
        (void)snprintf(prompt, sizeof prompt, "password of %.*s: ", ID_BYTES_MAX, user);
        code = ask(prompt, line, e);
    }
    if (code == 0) {
        *out = mem_strndup(line, strlen(line));
    }
    OPENSSL_cleanse(line, sizeof line);
    return code;
}

void password_free(char *password)
{
    if (password != NULL) {
        OPENSSL_cleanse(password, strlen(password));
        mem_free(password);
    }
}

static int read_new(char line[LINE_BYTES], struct error *e)
{
    char again[LINE_BYTES];
    if (isatty(STDIN_FILENO) != 1) {
        return read_line(stdin, "standard input", line, e);
    }
    int code = ask("new password: ", line, e);
    code = code != 0 ? code : ask("once more: ", again, e);
    if (code == 0 && strcmp(line, again) != 0) {
        code = error_set(e, ERR_BADARG, "the two passwords differ; nothing was made");
    }
    OPENSSL_cleanse(again, sizeof again);
    return code;
}

int password_main(void)
{
    struct error e;
    char line[LINE_BYTES], hash[ACCESS_HASH_BYTES];
    error_clear(&e);
    int code = read_new(line, &e);
    if (code == 0) {
        code = access_hash(span_of(line), ACCESS_ITERATIONS, hash, &e);
    }
    OPENSSL_cleanse(line, sizeof line);
    if (code != 0) {
        render_error(&e, span_make("", 0));
        return EXIT_REFUSED;
    }
    (void)printf("%s\n", hash);
    (void)fprintf(stderr, "put it into config.lua: users = { NAME = { password = \"...\", access = "
                          "\"client\" } }\n");
    return EXIT_DONE;
}
