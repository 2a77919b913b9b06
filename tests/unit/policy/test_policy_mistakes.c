/* Mistakes of those who write policies: each is refused loudly, at the author's line, and none
 * grants what was to be refused. (Those found when a bundle is loaded: test_policy_bundles.c.) */
#include "house.h"

#define RULES(text)                                                                                \
    {                                                                                              \
        "policy return policy {\n rules = { " text " } }", ""                                      \
    }
#define CHECK(body) RULES("rule { name = 'x', check = function(tx, ask) " body " end }")

/* A check that says nothing grants nothing: it fell off its end, or its refusal has no nil before
 * it. What is true grants, nil alone refuses. */
static void test_check_says_nothing(void **state)
{
    (void)state;
    PLAY(HOUSE, CHECK("if ask.size > 9 then return nil, 'no' end"),
         { "book 1 ann A1",
           "!INTERNAL the check of the rule 'x' (policy.lua:2) returned nothing: end "
           "it with `return true`" },
         CHECK("return { message = 'no' }"),
         { "book 1 ann A1", "!INTERNAL (policy.lua:2) returned a table: end it with" },
         CHECK("return 'no'"), { "book 1 ann A1", "!INTERNAL returned a string" },
         CHECK("return nil, 5"), { "book 1 ann A1", "!INTERNAL refused with a number" },
         CHECK("return nil, { msg = 'no' }"),
         { "book 1 ann A1", "!INTERNAL (policy.lua:2) refused: unknown key 'msg'; did you mean "
                            "'message'?" },
         CHECK("return nil, { code = 'NO' }"),
         { "book 1 ann A1", "!INTERNAL there is no code 'NO'; known are BADARG" },
         CHECK("return nil"), { "book 1 ann A1", "!DENIED the rule x refuses this" },
         CHECK("return false"), { "book 1 ann A1", "!DENIED the rule x refuses this" },
         CHECK("return ask.size"), { "book 1 ann A1", "{}" });
}

/* The members of a denial have their kinds, whoever wrote it and however it is raised; what is
 * raised and says nothing is no denial. */
static void test_denials(void **state)
{
    (void)state;
    PLAY(HOUSE, CHECK("return nil, { message = {} }"),
         { "book 1 ann A1",
           "!INTERNAL the check of the rule 'x' (policy.lua:2) refused: message is a table, not a "
           "text" },
         CHECK("return nil, { message = 5, hint = 6 }"), { "book 1 ann A1", "!DENIED 5; 6" },
         { "book 1 ann A1 --dry-run", "!DENIED 5; 6" }, CHECK("return nil, { seat = 5 }"),
         { "book 1 ann A1",
           "!INTERNAL (policy.lua:2) refused: seat is a number, not a seat or its label" },
         CHECK("\n deny { seat = 5 }"),
         { "book 1 ann A1", "!INTERNAL policy.lua:3: deny: seat is a number" },
         CHECK("return nil, { alternative = 'A2' }"),
         { "book 1 ann A1", "!INTERNAL alternative is a string, not a list of seats" },
         CHECK("error { code = 'X' }"),
         { "book 1 ann A1",
           "!INTERNAL the check of the rule 'x' (policy.lua:2) raised: there is no code 'X'" },
         CHECK("error {}"),
         { "book 1 ann A1", "!INTERNAL (policy.lua:2) raised a table without a message: deny" },
         CHECK("error { message = 'no' }"), { "book 1 ann A1", "!DENIED no" },
         RULES("rule { name = 'x', seat = function(tx, ask) error {} end }"),
         { "book 1 ann A1",
           "!INTERNAL the seat of the rule 'x' (policy.lua:2) raised a table without a message" },
         { "best 1 ann 1",
           "!INTERNAL the seat of the rule 'x' (policy.lua:2) raised a table without a message" });
}

/* A rule that asks the rules is asked by them again: that ends with the line that does it. */
static void test_rules_ask_rules(void **state)
{
    (void)state;
    PLAY(HOUSE,
         CHECK("\n return (tx:best { event = ask.event, customer = 'z', count = 1 }) ~= nil"),
         { "book 1 ann A1",
           "!INTERNAL policy.lua:3: rules ask rules more than 8 deep: what tx:best and tx:judge "
           "find is put before this rule, too" },
         CHECK("\n return tx:judge { verb = 'take', customer = 'z', seats = { '1:A2' } }"),
         { "book 1 ann A1", "!INTERNAL policy.lua:3: rules ask rules more than 8 deep" },
         CHECK("if ask.customer == 'z' then return true end return tx:judge { verb = 'take', "
               "customer = 'z', seats = { '1:A2' } }"),
         { "book 1 ann A1", "{}" });
}

/* What is refused for a seat is about that seat, though its author does not say so. */
static void test_seat_of_denial(void **state)
{
    (void)state;
    PLAY(HOUSE,
         RULES("rule { name = 'x', seat = function(tx, ask, seat) if seat.label == 'B1' then deny "
               "'SEAT is kept' end return true end }"),
         { "book 1 ann B1", "!DENIED B1 is kept; possible: B2 {'seat':'B1','alternative':['B2']}" },
         RULES("rule { name = 'x', seat = function(tx, ask, seat) deny { message = 'SEAT is kept', "
               "seat = 'A4' } end }"),
         { "book 1 ann B1", "!DENIED A4 is kept {'seat':'A4'}" });
}

/* The seats that a rule proposes may be labels: they are named when all rules would grant them. */
static void test_alternatives_as_labels(void **state)
{
    (void)state;
#define ONLY(alternative)                                                                          \
    CHECK("if ask.seats[1].label ~= 'A1' then return true end return nil, { message = 'no', "      \
          "seat = 'A1', alternative = " alternative " }")
    PLAY(HOUSE, ONLY("{ 'B2' }"), { "book 1 ann A1", "!DENIED no; possible: B2" },
         ONLY("{ ask.event:seat 'B2' }"), { "book 1 ann A1", "!DENIED no; possible: B2" },
         ONLY("{ 'Z9' }"), { "book 1 ann A1", "!DENIED no; possible: A2" });
#undef ONLY
}

/* An ask has the fields that it has, and no others; those that it may lack are nil. */
static void test_ask_is_strict(void **state)
{
    (void)state;
    PLAY(HOUSE, CHECK("\n return ask.costumer ~= 'bob'"),
         { "book 1 ann A1",
           "!INTERNAL policy.lua:3: ask has no field 'costumer'; did you mean 'customer'?" },
         CHECK("return ask[1]"),
         { "book 1 ann A1", "!INTERNAL policy.lua:2: ask has no field '1'" },
         CHECK("return not (ask.order or ask.metadata or ask.expires_at or ask.count or "
               "ask.exchange or ask.codes.x or ask.user.roles.x)"),
         { "book 1 ann A1", "{}" },
         { "policy return policy { price = function(tx, ask) return ask.sise end }", "" },
         { "book 1 ann A2", "!INTERNAL policy.lua:1: ask has no field 'sise'" });
}

/* Prices are whole numbers; no text is one, whatever it says. */
static void test_prices(void **state)
{
    (void)state;
#define PRICE(value) { "policy return policy {\n price = function() return " value " end }", "" }
    PLAY(HOUSE, PRICE("'100'"),
         { "book 1 ann A1",
           "!INTERNAL a price function must return a whole number of minor units, 0 "
           "or more; that of policy.lua:2 returned the text '100'" },
         PRICE("' 0x10 '"), { "book 1 ann A1", "!INTERNAL returned the text ' 0x10 '" },
         PRICE("nil"), { "book 1 ann A1", "!INTERNAL that of policy.lua:2 returned nil" },
         PRICE("1.5"), { "book 1 ann A1", "!INTERNAL returned 1.5" }, PRICE("100"),
         { "book 1 ann A1", "{'price':100}" });
#undef PRICE
}

/* SEAT in a message is the label of what it is about, an area's too; else it is some seat. */
static void test_seat_in_messages(void **state)
{
    (void)state;
    PLAY({ "add-event 1 {'rows':[{'row':'A','seats':5}],'areas':[{'name':'FLOOR','capacity':5,"
           "'category':'standing'}]}",
           "{}" },
         { "policy local rules = require 'usher.rules' return policy { price = rules.price_zones { "
           "stalls = 5 } }",
           "" },
         { "book 1 ann A1", "!DENIED A1 has no price {'rule':'price_zones','seat':'A1'}" },
         { "book 1 ann FLOOR*2", "!DENIED FLOOR has no price {'seat':'FLOOR'}" },
         { "best 1 ann 2", "!DENIED A1 has no price {'seat':'A1'}" },
         { "best 1 ann 2 --category standing", "!DENIED FLOOR has no price" },
         CHECK("return nil, 'SEAT is not for you, nor are SEATS'"),
         { "book 1 ann A1", "!DENIED a seat is not for you, nor are SEATS" },
         CHECK("return nil, { message = 'no SEAT', seat = ask.event:area 'FLOOR' }"),
         { "book 1 ann A1", "!DENIED no FLOOR" });
}

#define COMMAND(args, body)                                                                        \
    {                                                                                              \
        "policy return policy { commands = { command { name = 'c', summary = 's', example = 'c', " \
        "args = { " args " }, run = function(tx, req)\n " body " end } } }",                       \
            ""                                                                                     \
    }

/* A category is looked up at the event before it, or at the order's. */
static void test_category_argument(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { "o = book 1 ann A1", "{}" },
        COMMAND("{ 'event', 'event' }, { 'category', 'category' }", "return { is = req.category }"),
        { "c 1 gold", "{'is':'gold'}" },
        { "c 1 golf", "!NOTFOUND event 1 has no category 'golf'; it has" },
        { "c 2 gold", "!NOTFOUND" },
        COMMAND("{ 'order', 'order' }, { 'category', 'category' }", "return { is = req.category }"),
        { "c $o gold", "{'is':'gold'}" },
        { "c $o golf", "!NOTFOUND event 1 has no category 'golf'" },
        COMMAND("{ 'category', 'category' }", "return { is = req.category }"),
        { "c golf", "{'is':'golf'}" });
}

/* A command may refuse as one on a node does: nil, message, code. Nothing stays of what it did. */
static void test_command_refuses(void **state)
{
    (void)state;
    PLAY(HOUSE, COMMAND("", "tx:set('k', 1) return nil, 'not now', 'CONFLICT'"),
         { "c", "!CONFLICT not now" }, { "get k", "!NOTFOUND" },
         COMMAND("", "return nil, 'not now'"), { "c", "!DENIED not now" },
         COMMAND("", "return nil, 'not now', 'NO'"),
         { "c", "!INTERNAL command 'c' refused with the code 'NO', which there is not" },
         COMMAND("", "return nil, { message = 'x', code = 'LIMIT' }"), { "c", "!LIMIT x" },
         COMMAND("", "tx:set('k', 1) return nil, 404"),
         { "c", "!INTERNAL command 'c' refused with a number: return nil, message[, code]" },
         { "get k", "!NOTFOUND" });
}

/* What a command forgets is its own mistake and not the client's. */
static void test_command_forgets(void **state)
{
    (void)state;
    PLAY(HOUSE, COMMAND("", "return tx:take { customer = 'ann', seats = { 'A3' } }"),
         { "c", "!INTERNAL policy.lua:2: seat 'A3': of which event?" },
         COMMAND("", "return tx:take { customer = 'ann', seats = { { seat = 'A3' } } }"),
         { "c", "!INTERNAL policy.lua:2: seat 'A3': of which event?" },
         COMMAND("", "return tx:take { seats = { '1:A3' } }"),
         { "c", "!INTERNAL policy.lua:2: tx:take: customer is missing" },
         COMMAND("", "return tx:best { event = tx:event '1' }"),
         { "c", "!INTERNAL policy.lua:2: tx:best: count is missing" },
         COMMAND("", "return tx:best { event = tx:event '1', count = 0 }"),
         { "c", "!BADARG a party" }, { "book 1 ann X9", "!NOTFOUND" },
         { "policy return policy {\n best = { score = function() end } }", "" },
         { "best 1 ann 2", "!INTERNAL tx:best: a score must return a number, that of policy.lua:2 "
                           "returned nil" });
}

/* What fills the memory is told with its line, and as well what does so while it is loaded. */
static void test_memory_has_a_line(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { "policy return policy { rules = { rule { name = 'r', check = function(tx, ask)\n"
           "local s = 'x'\nwhile true do s = s .. s end end } } }",
           "" },
         { "book 1 ann A1", "!INTERNAL ran out of memory at policy.lua:3" },
         { "policy local s = 'x'\nwhile true do s = s .. s end",
           "!policy.lua:2: it ran out of memory while it was loaded" });
}

/* Of a request a command sees its arguments, whatever they are called. */
static void test_argument_called_command(void **state)
{
    (void)state;
    PLAY(HOUSE, COMMAND("{ 'command', 'string' }", "return { it = req.command }"),
         { "c ferry", "{'it':'ferry'}" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_says_nothing),
        cmocka_unit_test(test_denials),
        cmocka_unit_test(test_rules_ask_rules),
        cmocka_unit_test(test_seat_of_denial),
        cmocka_unit_test(test_alternatives_as_labels),
        cmocka_unit_test(test_ask_is_strict),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_seat_in_messages),
        cmocka_unit_test(test_category_argument),
        cmocka_unit_test(test_command_refuses),
        cmocka_unit_test(test_command_forgets),
        cmocka_unit_test(test_memory_has_a_line),
        cmocka_unit_test(test_argument_called_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
