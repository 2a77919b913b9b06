/* usher: the program. Wiring only: options, configuration, and which part runs. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "console/backup.h"
#include "console/client.h"
#include "console/console.h"
#include "console/output.h"
#include "console/password.h"
#include "console/policy.h"
#include "console/rebuild.h"
#include "console/render.h"
#include "net/node.h"
#include "net/profile.h"
#include "script/config.h"

/* What there is, in the order of `usher --help`; a mistake is answered with its own lines. */
static const struct usage {
    const char *word, *text;
} usages[] = {
    { "node",
      "usher node --id N [--config PROFILE] [--file config.lua] [--data DIR] [--no-console] "
      "[--user NAME] [--found] [--rebuild]\n" },
    { "console", "usher console [ADDR] [-c COMMAND]... [-w table|json|lua|csv]\n" },
    { "run", "usher run SCRIPT.lua [ARG...] [--at ADDR] [-w FORMAT] [-- ARG...]\n" },
    { "", "usher COMMAND [ARG...] [--at ADDR] [-w FORMAT]   any command, once: usher help lists "
          "them\n" },
    { "demo", "usher demo [--file config.lua]   three nodes on localhost, a cinema, a console\n" },
    { "bench", "usher bench [--at ADDR] [--mode M] [--clients N]...   load generator: usher bench "
               "--help\n" },
    { "config",
      "usher config check|show [PROFILE] [--file config.lua]\n"
      "usher config password         asks for a password, prints its hash for config.lua\n" },
    { "policy", "usher policy test|check|deploy|diff|rehearse PATH, list, show, rollback   (usher "
                "policy --help)\n" },
    { "restore", "usher restore FILE [--data DIR] [--id N] [--config PROFILE]   a new cluster of a "
                 "backup\n" },
    { "recover",
      "usher recover DATADIR [OTHER-DATADIR...] [--yes]   after the loss of a majority\n" },
    { "check",
      "usher check DATADIR [-w table|json|lua|csv]   reads a stopped node's files, changes "
      "nothing\n" },
    { "version", "usher version\n" },
};

static const char usage_end[] =
    "\n"
    "ADDR is one address or several with commas; without it $USHER_ADDR, else the nodes of the\n"
    "profile (--config, else default). --user NAME takes the password from $USHER_PASSWORD, from "
    "the\n"
    "file $USHER_PASSWORD_FILE, or asks for it. --NAME=VALUE is the same as --NAME VALUE.\n";

static void print_usage(FILE *out)
{
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        (void)fputs(usages[i].text, out);
    }
    (void)fputs(usage_end, out);
}

/* Options that stand before or after the words; the rest is left in argv order. */
struct options {
    const char *word; /* which program */
    const char *at, *profile, *file, *data, *format, *user, *id;
    const char **commands; /* -c, NULL-ended */
    size_t commands_count;
    bool no_console, found, rebuild, help, yes;
    int argc;
    char **argv;
};

/* How the program `word` is used; NULL: it is a command. */
static const char *usage_of(const char *word)
{
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++) {
        if (strcmp(usages[i].word, word) == 0) {
            return usages[i].text;
        }
    }
    return NULL;
}

/* `usher bench --help` and the like; false: the word is a command, and its node knows it. */
static bool show_usage(const char *word)
{
    const char *usage = usage_of(word);
    if (strcmp(word, "bench") == 0) {
        bench_usage(stdout);
    } else if (strcmp(word, "policy") == 0) {
        policy_usage(stdout);
    } else if (usage != NULL) {
        (void)fputs(usage, stdout);
    }
    return usage != NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* What is wrong, and how the program is used. */
static int usage_error(const char *word, const char *text, const char *what)
{
    const char *usage = usage_of(word);
    (void)fprintf(stderr, "usher: %s%s; usher --help shows all there is\n%s", text, what,
                  usage != NULL ? usage : "");
    return EXIT_USAGE;
}

struct option_def {
    const char *name;
    const char **value; /* NULL: a flag */
    bool *flag;
};

/* Whether a word is the option --NAME, or --NAME=VALUE; then *value is behind the `=`. */
static bool is_option(const char *word, const char *name, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0) {
        return false;
    }
    bool joined = word[n] == '=' && name[1] == '-';
    *value = joined ? word + n + 1 : NULL;
    return joined || word[n] == 0;
}

/* The option that a word is, NULL for none. */
static const struct option_def *find_option(const struct option_def *defs, const char *word,
                                            const char **value)
{
    for (const struct option_def *d = defs; d->name != NULL; d++) {
        if (is_option(word, d->name, value) && (d->flag == NULL || *value == NULL)) {
            return d;
        }
    }
    return NULL;
}

static void put_value(struct options *o, const struct option_def *def, const char *value)
{
    if (def->value != NULL) {
        *def->value = value;
        return;
    }
    o->commands = mem_must_realloc(o->commands, (o->commands_count + 2) * sizeof *o->commands);
    o->commands[o->commands_count++] = value; /* -c, repeatable */
    o->commands[o->commands_count] = NULL;
}

/* Takes the options that this kind of program knows; words after `--`, and everything it
 * does not know, stay (they belong to the command). Returns 0 or EXIT_USAGE. */
static int take_options(struct options *o, int argc, char **argv, const struct option_def *defs)
{
    o->argv = mem_must_alloc(((size_t)argc + 1) * sizeof *o->argv);
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        const struct option_def *found = find_option(defs, argv[i], &value);
        if (found == NULL) {
            o->argv[o->argc++] = argv[i];
            if (strcmp(argv[i], "--") == 0) {
                while (++i < argc) {
                    o->argv[o->argc++] = argv[i];
                }
            }
        } else if (found->flag != NULL) {
            *found->flag = true;
        } else if (value == NULL && i + 1 == argc) {
            return usage_error(o->word, argv[i], " needs a value");
        } else {
            put_value(o, found, value != NULL ? value : argv[++i]);
        }
    }
    o->argv[o->argc] = NULL;
    return 0;
}

static int fail(const struct error *e)
{
    render_error(e, span_make("", 0));
    return e->code == ERR_BADARG || e->code == ERR_NOTFOUND ? EXIT_USAGE : EXIT_REFUSED;
}

/* --at, or $USHER_ADDR where no profile is named; NULL: the nodes of the profile. */
static const char *given_addresses(const struct options *o)
{
    const char *text = o->at != NULL ? o->at : o->profile == NULL ? getenv("USHER_ADDR") : NULL;
    return text != NULL && text[0] != 0 ? text : NULL;
}

static char **find_addresses(const struct options *o, struct error *e)
{
    const char *text = given_addresses(o);
    if (text != NULL) {
        char **list = client_addresses(text);
        if (list[0] == NULL) {
            error_set(e, ERR_BADARG, "`%s` holds no address", text);
        }
        return list;
    }
    struct config config;
    if (config_load(o->file, o->profile, &config, e) != 0) {
        return NULL;
    }
    char **list = config.nodes;
    config.nodes = NULL;
    config_free(&config);
    return list;
}

typedef int (*client_main)(const struct console_options *co, int argc, char **argv);

static int console_entry(const struct console_options *co, int argc, char **argv)
{
    if (argc > 0) {
        return usage_error("console", "console takes one ADDR, not ", argv[0]);
    }
    return console_main(co);
}

/* The first `--` is ours: the script's own words that look like our options stand behind it. */
static int run_entry(const struct console_options *co, int argc, char **argv)
{
    int at = 0;
    while (at < argc && strcmp(argv[at], "--") != 0) {
        at++;
    }
    if (at < argc) {
        memmove(argv + at, argv + at + 1, (size_t)(argc - at) * sizeof *argv); /* with the NULL */
        argc--;
    }
    if (argc == 0) {
        return usage_error("run", "run needs a script", "");
    }
    if (at > 0 && argv[0][0] == '-' && argv[0][1] != 0) {
        return usage_error("run", "run does not take ", argv[0]);
    }
    return run_main(co, argc, argv);
}

static int client_program(struct options *o, client_main run, int argc, char **argv)
{
    struct error e;
    error_clear(&e);
    char **addresses = find_addresses(o, &e);
    if (addresses == NULL || e.code != 0) {
        return fail(&e);
    }
    char *password;
    if (password_find(o->user, &password, &e) != 0) {
        client_addresses_free(addresses);
        return fail(&e);
    }
    const struct console_options co = {
        .addresses = (const char *const *)addresses,
        .profile = o->profile != NULL           ? o->profile
                   : given_addresses(o) != NULL ? NULL /* the node says which it is of */
                                                : "default",
        .user = o->user,
        .password = password,
        .format = o->format,
        .commands = o->commands,
    };
    int status = run(&co, argc, argv);
    client_addresses_free(addresses);
    password_free(password);
    return status;
}

/* ---- usher config --------------------------------------------------------------- */

static int config_program(struct options *o)
{
    const char *verb = o->argc > 0 ? o->argv[0] : "";
    bool show = strcmp(verb, "show") == 0;
    if (strcmp(verb, "password") == 0 && o->argc == 1) {
        return password_main();
    }
    if ((!show && strcmp(verb, "check") != 0) || o->argc > 2) {
        return usage_error(
            "config", "config takes `check` or `show` and at most one profile, or `password`", "");
    }
    struct error e;
    struct config config;
    if (config_load(o->file, o->argc == 2 ? o->argv[1] : o->profile, &config, &e) != 0) {
        render_error(&e, span_make("", 0));
        return EXIT_REFUSED;
    }
    if (show) {
        struct render *render;
        if (render_new(o->format, stdout, &render, &e) != 0) {
            config_free(&config);
            return fail(&e);
        }
        render_print(render, span_make((const char *)config.json.data, config.json.len),
                     span_make("", 0));
        render_free(render);
    } else if (profile_check(&config, &e) != 0) {
        config_free(&config);
        render_error(&e, span_make("", 0));
        return EXIT_REFUSED;
    } else {
        (void)printf("%s is right: profile %s has %zu node%s\n", config.file, config.profile,
                     config.nodes_count, config.nodes_count == 1 ? "" : "s");
    }
    config_free(&config);
    return EXIT_DONE;
}

/* ---- usher node ----------------------------------------------------------------- */

struct console_thread {
    pthread_t thread;
    char address[300], profile[128];
    const char *user; /* NULL: none */
    char *password;
    volatile sig_atomic_t stop;
};

static void *console_run(void *arg)
{
    struct console_thread *t = arg;
    const char *addresses[] = { t->address, NULL };
    const struct console_options co = { .addresses = addresses,
                                        .profile = t->profile,
                                        .user = t->user,
                                        .password = t->password,
                                        .stop = &t->stop,
                                        .in_node = true };
    (void)console_main(&co);
    password_free(t->password);
    (void)printf("The console is closed; node %s goes on. Ctrl-C stops it.\n", t->address);
    (void)fflush(stdout);
    return NULL;
}

/* Whether this terminal gets a console. Where the profile has users it needs one of them, whose
 * password is asked for here, before the node writes its log over the question. */
static int want_console(const struct options *o, const struct config *config,
                        struct console_thread *t, bool *want, struct error *e)
{
    *want = !o->no_console && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    if (*want && config->users_count > 0 && o->user == NULL) {
        (void)fputs("no console in this terminal: the profile has users; --user NAME gives one\n",
                    stderr);
        *want = false;
    }
    t->user = o->user;
    return *want ? password_find(o->user, &t->password, e) : 0;
}

static int node_data_dir(const struct options *o, const struct config *config, const char *address,
                         char *out, size_t cap)
{
    if (o->data != NULL) {
        return snprintf(out, cap, "%s", o->data);
    }
    const char *root = config->data != NULL ? config->data : "data";
    return snprintf(out, cap, "%s/%s/%s", root, config->profile, address);
}

static int node_with_config(const struct options *o, const struct config *config, size_t id)
{
    char dir[4096];
    struct error e;
    const char *address = config->nodes[id];
    int n = node_data_dir(o, config, address, dir, sizeof dir);
    if (n < 0 || (size_t)n >= sizeof dir) {
        return usage_error("node", "the data directory's path is too long", "");
    }
    struct node_options no = { .config = config,
                               .address = address,
                               .dir = dir,
                               .found = o->found,
                               .version = USHER_VERSION };
    const struct rebuild_options ro = { .dir = dir,
                                        .address = address,
                                        .nodes = (const char *const *)config->nodes,
                                        .user = o->user,
                                        .program = "usher" };
    struct node *node;
    error_clear(&e);
    static struct console_thread console; /* outlives this function: the thread is detached */
    bool with_console;
    if ((o->rebuild && rebuild_prepare(&ro, &e) != 0) ||
        want_console(o, config, &console, &with_console, &e) != 0 ||
        node_start(&no, &node, &e) != 0) {
        render_error(&e, span_make("", 0));
        return EXIT_REFUSED;
    }
    if (o->rebuild) {
        rebuild_join(&ro);
    }
    (void)snprintf(console.address, sizeof console.address, "%s", address);
    (void)snprintf(console.profile, sizeof console.profile, "%s", config->profile);
    if (with_console && pthread_create(&console.thread, NULL, console_run, &console) == 0) {
        (void)pthread_detach(console.thread);
    }
    int status = node_run(node, &e);
    console.stop = 1;
    if (status != 0) {
        render_error(&e, span_make("", 0));
    }
    return status != 0 ? EXIT_REFUSED : EXIT_DONE;
}

static int node_program(struct options *o)
{
    struct error e;
    struct config config;
    int64_t id;
    if (o->argc > 0) {
        return usage_error("node", "node does not take the word ", o->argv[0]);
    }
    if (o->id == NULL) {
        return usage_error("node",
                           "node needs --id N, the place of its address in the profile's list", "");
    }
    if (config_load(o->file, o->profile, &config, &e) != 0) {
        return fail(&e);
    }
    int status = EXIT_USAGE;
    if (!text_int64(span_of(o->id), &id) || id < 0 || (uint64_t)id >= config.nodes_count) {
        error_set(&e, ERR_BADARG, "--id %s: profile %s in %s has %zu nodes", o->id, config.profile,
                  config.file, config.nodes_count);
        error_hint(&e, "give a number from 0 to %zu, or add the address to the profile",
                   config.nodes_count - 1);
        (void)fail(&e);
    } else {
        status = node_with_config(o, &config, (size_t)id);
    }
    config_free(&config);
    return status;
}

/* Which directory and address node N of the profile has; --data goes before it. */
static int restore_program(struct options *o)
{
    struct error e;
    struct config config;
    int64_t id = 0;
    char dir[4096];
    if (o->argc != 1 || o->argv[0][0] == '-') {
        return usage_error("restore", "restore takes one FILE", "");
    }
    if (config_load(o->file, o->profile, &config, &e) != 0) {
        return fail(&e);
    }
    int status = EXIT_USAGE;
    if ((o->id != NULL && !text_int64(span_of(o->id), &id)) || id < 0 ||
        (uint64_t)id >= config.nodes_count) {
        error_set(&e, ERR_BADARG, "--id %s: profile %s in %s has %zu nodes", o->id, config.profile,
                  config.file, config.nodes_count);
        (void)fail(&e);
    } else {
        const char *address = config.nodes[id];
        int n = node_data_dir(o, &config, address, dir, sizeof dir);
        status = n < 0 || (size_t)n >= sizeof dir
                     ? usage_error("restore", "the data directory's path is too long", "")
                     : restore_main(o->format, o->argv[0], dir, address);
    }
    config_free(&config);
    return status;
}

static int recover_program(struct options *o)
{
    for (int i = 0; i < o->argc; i++) {
        if (o->argv[i][0] == '-') {
            return usage_error("recover", "recover does not take ", o->argv[i]);
        }
    }
    struct error e;
    char *password;
    error_clear(&e);
    if (password_find(o->user, &password, &e) != 0) {
        return fail(&e);
    }
    const struct recover_options ro = {
        .dirs = (const char *const *)o->argv, .user = o->user, .password = password, .yes = o->yes
    };
    int status = recover_main(&ro);
    password_free(password);
    return status;
}

/* Programs on the files of stopped nodes. */
static int offline_program(struct options *o, const char *word, int argc, char **argv)
{
    const struct option_def defs[] = {
        { "--id", &o->id, NULL },     { "--config", &o->profile, NULL },
        { "--file", &o->file, NULL }, { "--data", &o->data, NULL },
        { "--user", &o->user, NULL }, { "-w", &o->format, NULL },
        { "--yes", NULL, &o->yes },   { NULL, NULL, NULL }
    };
    if (take_options(o, argc, argv, defs) != 0) {
        return EXIT_USAGE;
    }
    return strcmp(word, "restore") == 0 ? restore_program(o) : recover_program(o);
}

/* ---- Which program ---------------------------------------------------------------- */

static bool is_address(const char *text) { return strchr(text, ':') != NULL; }

static int dispatch(struct options *o, const char *word, int argc, char **argv)
{
    const struct option_def node_defs[] = { { "--id", &o->id, NULL },
                                            { "--config", &o->profile, NULL },
                                            { "--file", &o->file, NULL },
                                            { "--data", &o->data, NULL },
                                            { "--no-console", NULL, &o->no_console },
                                            { "--found", NULL, &o->found },
                                            { "--rebuild", NULL, &o->rebuild },
                                            { "--user", &o->user, NULL },
                                            { NULL, NULL, NULL } };
    const struct option_def client_defs[] = {
        { "--at", &o->at, NULL },   { "--config", &o->profile, NULL }, { "--file", &o->file, NULL },
        { "-w", &o->format, NULL }, { "--user", &o->user, NULL },      { NULL, NULL, NULL }
    };
    const struct option_def console_defs[] = {
        { "--at", &o->at, NULL },   { "--config", &o->profile, NULL }, { "--file", &o->file, NULL },
        { "-w", &o->format, NULL }, { "--user", &o->user, NULL },      { "-c", NULL, NULL },
        { NULL, NULL, NULL }
    };
    if (strcmp(word, "restore") == 0 || strcmp(word, "recover") == 0) {
        return offline_program(o, word, argc, argv);
    }
    if (strcmp(word, "node") == 0) {
        output_optional();
        return take_options(o, argc, argv, node_defs) != 0 ? EXIT_USAGE : node_program(o);
    }
    if (take_options(o, argc, argv, strcmp(word, "console") == 0 ? console_defs : client_defs) !=
        0) {
        return EXIT_USAGE;
    }
    if (strcmp(word, "config") == 0 && o->argc > 0 && o->argv[0][0] != '-') {
        return config_program(o);
    }
    if (strcmp(word, "check") == 0) {
        return check_main(o->format, o->argc, o->argv);
    }
    if (strcmp(word, "policy") == 0 && policy_is_local(o->argc, o->argv)) {
        return policy_main(NULL, o->argc, o->argv);
    }
    if (strcmp(word, "policy") == 0) {
        return client_program(o, policy_main, o->argc, o->argv);
    }
    if (strcmp(word, "console") == 0) {
        bool given = o->at == NULL && o->argc > 0 && is_address(o->argv[0]);
        o->at = given ? o->argv[0] : o->at;
        return client_program(o, console_entry, o->argc - given, o->argv + given);
    }
    if (strcmp(word, "bench") == 0) {
        return client_program(o, bench_main, o->argc, o->argv);
    }
    if (strcmp(word, "run") == 0) {
        return client_program(o, run_entry, o->argc, o->argv);
    }
    char **words = mem_must_alloc(((size_t)o->argc + 2) * sizeof *words);
    words[0] = (char *)(uintptr_t)word;
    memcpy(words + 1, o->argv, ((size_t)o->argc + 1) * sizeof *words);
    int status = client_program(o, oneshot_main, o->argc + 1, words);
    mem_free(words);
    return status;
}

/* `usher --user ann seats 1`: a client's options may stand before the word. Moves them behind it;
 * returns how many words they are, -1 when no word follows. */
static int options_before(int argc, char **argv)
{
    static const char *const names[] = { "--user", "--at", "--config", "--file", "-w", NULL };
    int n = 0;
    for (int taken = 1; taken > 0; n += taken) {
        taken = 0;
        for (const char *const *name = names; *name != NULL && 1 + n < argc; name++) {
            const char *value;
            if (is_option(argv[1 + n], *name, &value)) {
                taken = value != NULL ? 1 : 2;
            }
        }
    }
    if (1 + n >= argc) {
        return n == 0 ? 0 : -1;
    }
    char *word = argv[1 + n];
    memmove(argv + 2, argv + 1, (size_t)n * sizeof *argv);
    argv[1] = word;
    return n;
}

static int program(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (argc == 3 && is_help(argv[2]) && show_usage(word)) {
        return EXIT_DONE;
    }
    if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0) {
        if (argc > 2) {
            return usage_error("version", "version takes no words", "");
        }
        (void)printf("usher %s\n", USHER_VERSION);
        return EXIT_DONE;
    }
    if (is_help(word)) {
        print_usage(stdout);
        return EXIT_DONE;
    }
    if (strcmp(word, "demo") == 0) {
        output_optional(); /* its nodes have to be stopped */
        return demo_main(argv[0], argc - 2, argv + 2);
    }
    int before = options_before(argc, argv);
    word = argv[1];
    if (before < 0) {
        return usage_error("", "no command stands behind ", word);
    }
    if (word[0] == '-') {
        return usage_error("", "unknown option ", word);
    }
    struct options o = { .word = word };
    int status = dispatch(&o, word, argc - 2, argv + 2);
    mem_free(o.argv);
    mem_free(o.commands);
    return status;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN); /* a peer that goes away is an error code, not our end */
    output_open();
    return output_end(program(argc, argv));
}
