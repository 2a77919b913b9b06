/* tx:best against what seats.io is known to answer (docs: FIELD, "best available"), and its
 * edges: aisles, wheelchair seats, parts, rules, scores, several events. */
#include "lib/play.h"

/* A command that shows what tx:best finds, its table given as Lua text. */
#define POLICY(rules)                                                                              \
    "policy return policy { name = 'p', rules = { " rules                                          \
    " }, commands = { command { name = 'find', kind = 'transaction', "                             \
    "group = 'g', summary = 's', example = 'find 2', args = { { 'event', 'event' }, { 'count', "   \
    "'int' } }, options = { { 'category', 'string' }, { 'orphans', 'string' }, { 'also', "         \
    "'event' }, { 'score', 'string' }, { 'leaves', 'string' }, { 'split', 'bool' } }, run = "      \
    "function(tx, req) "                                                                           \
    "local orphans if req.orphans then orphans = req.orphans == 'on' end "                         \
    "local score if req.score == 'last' then score = function(seats) return seats[1].position "    \
    "end elseif req.score == 'second' then score = function(seats) return "                        \
    "-math.abs(seats[1].position - 2) end "                                                        \
    "elseif req.score == 'back' then score = { by = 'back' } elseif req.score == 'tight' "         \
    "then "                                                                                        \
    "score = { by = 'tight' } elseif req.score == 'focal' then score = { by = 'focal', x = 2, y "  \
    "= 2 "                                                                                         \
    "} elseif req.score == 'wrong' then score = { by = 'x' } elseif req.score then score = "       \
    "function(seats) return req.score end end "                                                    \
    "local seats, why = tx:best { event = req.event, customer = 'c', count = req.count, "          \
    "category = req.category, orphans = orphans, also = req.also and { req.also }, score = "       \
    "score, split = req.split, leaves = req.leaves and { req.event:seat(req.leaves) } } "          \
    "if not seats then return { why = why } end local o = {} for i, s in ipairs(seats) do "        \
    "o[i] = s.label end return { o = table.concat(o, ' ') } end } } }"

#define TWO_ROWS                                                                                   \
    {                                                                                              \
        "add-event 1 [{'row':'A','seats':8},{'row':'B','seats':8}]", "{}"                          \
    }

/* The published oracle: A4..A6 of an empty house; with A4 and A5 sold, two go to B4 B5 rather
 * than leave a single seat, and to A2 A3 when that does not matter. */
static void test_oracle(void **state)
{
    (void)state;
    PLAY(TWO_ROWS, { POLICY(""), "" }, { "find 1 3", "{'o':'A4 A5 A6'}" },
         { "find 1 2", "{'o':'A4 A5'}" }, { "find 1 1", "{'o':'A4'}" },
         { "book 1 ann A4 A5", "{}" }, { "find 1 2", "{'o':'B4 B5'}" },
         { "find 1 2 --orphans on", "{'o':'A2 A3'}" }, { "find 1 3", "{'o':'A1 A2 A3'}" });
}

/* Single seats are left over only when nothing else is free, and never when told so. */
static void test_orphans_last(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':3},{'row':'B','seats':3}]", "{}" }, { POLICY(""), "" },
         { "find 1 2", "{'o':'A2 A3'}" }, { "find 1 2 --orphans off", "{'why':'~no 2 free'}" },
         { "find 1 3 --orphans off", "{'o':'A1 A2 A3'}" });
}

/* An aisle ends a block, and a seat beside it is no orphan for being alone on the other side. */
static void test_aisles(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':6,'aisles':[3]},{'row':'B','seats':6}]", "{}" },
         { POLICY(""), "" }, { "find 1 4", "{'o':'B3 B4 B5 B6'}" },
         { "book 1 ann B1 B2 B3 B4 B5 B6", "{}" }, { "find 1 3", "{'o':'A1 A2 A3'}" },
         { "book 1 bob A1 A2", "{}" }, { "find 1 1", "{'o':'A3'}" });
}

/* A party is split over rows of a section before sections, and nobody sits alone. */
static void test_parts(void **state)
{
    (void)state;
    PLAY({ "add-event 1 {'rows':[{'name':'A','section':'s','seats':3},{'name':'B','section':'s',"
           "'seats':3},{'name':'C','section':'t','seats':3}]}",
           "{}" },
         { POLICY(""), "" }, { "find 1 4 --split", "{'o':'A2 A3 B2 B3'}" },
         { "find 1 6 --split", "{'o':'A1 A2 A3 B1 B2 B3'}" },
         { "find 1 5 --split", "{'o':'A1 A2 A3 B2 B3'}" },
         { "find 1 8 --split", "{'o':'A1 A2 A3 B1 B2 B3 C2 C3'}" },
         { "find 1 9 --split", "{'o':'*'}" }, { "find 1 10 --split", "{'why':'~no 10 free'}" },
         { "book 1 ann A2 B2 C2", "{}" }, { "find 1 2", "{'why':'~no 2 free'}" },
         { "find 1 1", "{'o':'A1'}" });
}

/* Places for wheelchair users come when nothing else is left. */
static void test_accessible_last(void **state)
{
    (void)state;
    PLAY({ "add-event 1 {'rows':[{'name':'A','seats':[{'label':'A1','accessible':true},{'label':"
           "'A2','companion':true},{'label':'A3'}]},{'name':'B','seats':2}]}",
           "{}" },
         { POLICY(""), "" }, { "find 1 2", "{'o':'B1 B2'}" }, { "find 1 3", "{'o':'A1 A2 A3'}" },
         { "book 1 ann B1 B2", "{}" }, { "find 1 1", "{'o':'A3'}" }, { "find 1 2", "{'o':'*'}" });
}

/* Only seats of the category; an unknown one is said to be unknown. */
static void test_category(void **state)
{
    (void)state;
    PLAY({ "add-event 1 {'rows':[{'name':'A','seats':4,'category':'gold'},{'name':'B','seats':4,"
           "'category':'blue'}]}",
           "{}" },
         { POLICY(""), "" }, { "find 1 2 --category blue", "{'o':'B1 B2'}" },
         { "find 1 2 --category red", "!NOTFOUND red" },
         { "find 1 5 --category gold", "{'why':'~no 5 free'}" });
}

/* `seat` rules take seats out of the search; other rules judge whole blocks. */
static void test_rules(void **state)
{
    (void)state;
    PLAY(TWO_ROWS,
         { POLICY("rule { name = 'edge', seat = function(tx, ask, seat) return seat.position < 4 "
                  "end }"),
           "" },
         { "find 1 2", "{'o':'A1 A2'}" }, { "find 1 3", "{'o':'A1 A2 A3'}" },
         { "find 1 4 --split", "{'o':'A2 A3 B2 B3'}" },
         { POLICY("function(tx, ask) for _, s in ipairs(ask.seats) do if s.row.name == 'A' then "
                  "return nil, 'not there' end end return true end"),
           "" },
         { "find 1 2", "{'o':'B4 B5'}" },
         { POLICY("function(tx, ask) return nil, 'never' end"), "" },
         { "find 1 2", "{'why':'~rule 1 refuses most'}" },
         { POLICY("function(tx, ask) error('broken') end"), "" },
         { "find 1 2", "!INTERNAL broken" });
}

/* The rules that look at single seats are asked about a seat once, and not about all seats. */
static void test_rules_are_lazy(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':50},{'row':'B','seats':50}]", "{}" },
         { "policy local n = 0 return policy { name = 'p', rules = { rule { name = 'count', seat = "
           "function() n = n + 1 return true end } }, commands = { command { name = 'find', kind = "
           "'transaction', group = 'g', summary = 's', example = 'find', args = { { 'event', "
           "'event' } }, run = function(tx, req) n = 0 local s = tx:best { event = req.event, "
           "customer = 'c', count = 2 } return { asked = n } end } } }",
           "" },
         { "find 1", "{'asked':52}" }); /* row A once, and the two seats that were judged */
}

/* With a score function the highest score wins. */
static void test_score(void **state)
{
    (void)state;
    PLAY(TWO_ROWS, { POLICY(""), "" }, { "find 1 2 --score last", "{'o':'A7 A8'}" },
         { "find 1 2 --score x", "!INTERNAL score must return a number" },
         { POLICY("function(tx, ask) return ask.seats[1].position < 5 end"), "" },
         { "find 1 2 --score last", "{'o':'A4 A5'}" });
}

/* The seats that a score function is shown are its own: what it does to the list changes no
 * candidate. It only looks, as rules do. */
static void test_score_is_kept_apart(void **state)
{
    (void)state;
    PLAY(TWO_ROWS,
         { "policy return policy { name = 'p', best = { score = function(seats) local at = "
           "seats[1].position seats[1] = 5 seats[2] = nil return at end } }",
           "" },
         { "best 1 ann 2 --book", "{'order':'*','seats':[{'seat':'A7'},{'seat':'A8'}]}" },
         { "policy local t return policy { name = 'p', best = { score = function(seats) "
           "t:set('x', 1) return 1 end }, rules = { function(tx) t = tx return true end } }",
           "" },
         { "book 1 ann A1", "{}" },
         { "best 1 ann 2", "!INTERNAL rules, prices and scores only look" });
}

/* A score function, too, chooses among blocks that leave no single seat before it sees others, and
 * among whole blocks before parts; what rules refuse in one tier does not end the search. */
static void test_score_by_tiers(void **state)
{
    (void)state;
    PLAY(
        { "add-event 1 [{'row':'A','seats':5},{'row':'B','seats':3}]", "{}" }, { POLICY(""), "" },
        { "find 1 2 --score second", "{'o':'A1 A2'}" },
        { "find 1 2 --score second --orphans on", "{'o':'A2 A3'}" },
        { POLICY("function(tx, ask) return ask.seats[1].label == 'B2' or #ask.seats > 3 end"), "" },
        { "find 1 2 --score second", "{'o':'B2 B3'}" },
        { "find 1 7 --score second --split", "{'o':'~A1 A2 A3 A4 A5 B'}" });
}

/* The same seats are free on all events; events of other houses are refused. */
static void test_events(void **state)
{
    (void)state;
    PLAY({ "add-chart hall [{'row':'A','seats':8},{'row':'B','seats':8}]", "{}" },
         { "add-event 1 hall", "{}" }, { "add-event 2 hall", "{}" },
         { "add-event 3 [{'row':'A','seats':8}]", "{}" }, { POLICY(""), "" },
         { "book 2 ann A4 A5", "{}" }, { "find 1 2", "{'o':'A4 A5'}" },
         { "find 1 2 --also 2", "{'o':'B4 B5'}" }, { "find 1 2 --also 3", "!BADARG different" });
}

/* Seats that the request gives up count as free. */
static void test_leaves(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':2}]", "{}" }, { POLICY(""), "" },
         { "book 1 ann A1", "{}" }, { "find 1 2", "{'why':'~no 2'}" },
         { "find 1 2 --leaves A1", "{'o':'A1 A2'}" });
}

/* What an order gives up makes this its reseat, not a take: the rules see what it will have. */
static void test_leaves_are_a_reseat(void **state)
{
    (void)state;
    static const char seen[] = POLICY(
        "rule { on = { 'reseat' }, check = function(tx, ask) return ask.order.customer == 'c' "
        "and #ask.seats == 2 and ask.size == 2 and ask.seats[1].label == 'B1' and #ask.gains "
        "== 1 and #ask.leaves == 1 and ask.leaves[1].label == 'A1' and ask.after == 'booked' "
        "and ask.seats[2].label == 'A3' end }");
    static const char check_in[] = POLICY(
        "rule { name = 'check-in-only', on = { 'take' }, seat = function() return false end }, "
        "rule { name = 'aisle', on = { 'reseat' }, seat = function(_, _, s) return s.position > "
        "2 end }");
    PLAY({ "add-event 1 {'rows':[{'name':'A','seats':4},{'name':'B','seats':4}]}", "{}" },
         { "book 1 c A1 B1", "{}" }, { POLICY("require('usher.rules').max_per_customer(2)"), "" },
         { "find 1 1", "{'why':'~max_per_customer'}" }, { "find 1 1 --leaves A1", "{'o':'*'}" },
         { "find 1 2 --leaves A1", "{'why':'~max_per_customer'}" }, { check_in, "" },
         { "find 1 1", "{'why':'~check-in-only'}" }, { "find 1 1 --leaves A1", "{'o':'A4'}" },
         { seen, "" }, { "find 1 1 --leaves A1", "{'o':'A3'}" });
}

/* Places of an area do not tell whose they are: `order` does, and whom the seats are for. */
static void test_order_is_reseated(void **state)
{
    (void)state;
    PLAY(
        { "add-event 1 {'rows':[{'name':'A','seats':4}],'areas':[{'name':'FLOOR','capacity':9}]}",
          "{}" },
        { "o = book 1 c FLOOR*3", "{}" },
        { "policy return policy { rules = { require('usher.rules').max_per_customer(3) }, commands "
          "= { command { name = 'seat', args = { { 'order', 'order' }, { 'count', 'int' } }, run = "
          "function(tx, req) local o = req.order local floor = o.seats[1].area local seats, why = "
          "tx:best { event = floor.event, count = req.count, order = o, leaves = { { area = floor, "
          "count = 2 } } } if not seats then return { why = why } end seats[#seats + 1] = floor "
          "return tx:reseat(o, seats) end } } }",
          "" },
        { "seat $o 3", "{'why':'~max_per_customer'}" },
        { "seat $o 2", "{'seats':[{'seat':'A1'},{'seat':'A2'},{'seat':'FLOOR','count':1}]}" });
}

/* Party sizes out of range are refused. */
static void test_counts(void **state)
{
    (void)state;
    PLAY(TWO_ROWS, { POLICY(""), "" }, { "find 1 0", "!BADARG 1 to 1000" },
         { "find 1 -3", "!BADARG" }, { "find 1 1001", "!BADARG 1 to 1000" });
}

/* The shipped orders: from the back, around a point, in the tightest run; each still before the
 * rules and the single seats. */
static void test_shipped_orders(void **state)
{
    (void)state;
    PLAY(
        TWO_ROWS, { POLICY(""), "" }, { "find 1 2 --score back", "{'o':'B4 B5'}" },
        { "find 1 2 --score focal --orphans on", "{'o':'B2 B3'}" },
        { "find 1 4 --score focal --orphans on", "{'o':'B1 B2 B3 B4'}" },
        { "find 1 2 --score wrong", "!INTERNAL by is" }, { "book 1 ann A3", "{}" },
        { "find 1 2 --score tight", "{'o':'A1 A2'}" }, { "book 1 ann A1 A2", "{}" },
        { "find 1 2 --score tight", "{'o':'A4 A5'}" },
        { POLICY("rule { name = 'no-b', seat = function(tx, ask, seat) return seat.row.name ~= 'B' "
                 "end }"),
          "" },
        { "find 1 2 --score back", "{'o':'A4 A5'}" });
}

/* The seat at the origin is there, and not where its number in the row says. */
static void test_focal_at_origin(void **state)
{
    (void)state;
    PLAY({ "add-event 1 "
           "{'rows':[{'name':'A','seats':[{'label':'A1','x':0,'y':0},{'label':'A2','x':4,"
           "'y':2}]}]}",
           "{}" },
         { POLICY(""), "" }, { "find 1 1 --score focal --orphans on", "{'o':'A2'}" });
}

#define FOYER                                                                                      \
    {                                                                                              \
        "add-event 1 {'rows':[{'name':'A','seats':4,'category':'foyer'},"                          \
        "{'name':'B','seats':4,'category':'stalls'}]}",                                            \
            "{}"                                                                                   \
    }
#define PRICED(price) POLICY("}, price = " price ", rulesets = {")

/* A block that the price function denies is none: the next one is tried. What else it raises is a
 * mistake. */
static void test_prices(void **state)
{
    (void)state;
    static const char zones[] = PRICED("require('usher.rules').price_zones { stalls = 100 }");
    static const char row_b[] = PRICED("function(_, _, s) return s.row.name == 'B' and 5 or deny "
                                       "'not sold' end");
    static const char both[] =
        POLICY("function(_, ask) return ask.seats[1].label ~= 'B1' end }, price = "
               "require('usher.rules').price_zones { stalls = 100 }, rulesets = {");
    PLAY(FOYER, { zones, "" }, { "find 1 2", "{'o':'B1 B2'}" },
         { "o = best 1 ann 2", "{'price':200,'seats':[{'seat':'B1'},{'seat':'B2'}]}" },
         { "find 1 3", "{'why':'~price_zones refuses most'}" }, { "release $o", "{}" },
         { row_b, "" }, { "find 1 2", "{'o':'B1 B2'}" },
         { "find 1 2 --category foyer", "{'why':'~: price refuses most'}" },
         { "find 1 2 --score back", "{'o':'B1 B2'}" }, { both, "" },
         { "find 1 2", "{'o':'B3 B4'}" }, { PRICED("function() error('broken') end"), "" },
         { "find 1 2", "!INTERNAL broken" });
}

/* Also what a move gains; but a command may give the seats ticket types, if only
 * those have prices. */
static void test_prices_of_moves_and_types(void **state)
{
    (void)state;
    PLAY(FOYER, { PRICED("require('usher.rules').price_zones { stalls = 100 }"), "" },
         { "book 1 c B1", "{}" }, { "find 1 1 --leaves B1 --category foyer", "{'why':'*'}" },
         { "find 1 2 --leaves B1", "{'o':'B1 B2'}" },
         { PRICED("require('usher.rules').price_zones { foyer = { child = 1 }, stalls = 100 }"),
           "" },
         { "find 1 2", "{'o':'A1 A2'}" }, { "best 1 ann 2", "!BADARG no ticket '' for A1" });
}

/* A house where the first 1,000 choices are refused: the search ends, says so, and names the rule
 * that refused most of them. */
static void test_limit(void **state)
{
    (void)state;
    PLAY(
        { "add-event 1 [{'row':'A','seats':900},{'row':'B','seats':900}]", "{}" },
        { POLICY("rule { name = 'never', check = function(tx, ask) return ask.seats[1].position == "
                 "900 end }, rule { name = 'rare', check = function() return false end }"),
          "" },
        { "find 1 1", "{'why':'~none of the first 1000 choices is allowed; the rule never'}" },
        { "find 1 950", "{'why':'~no 950 free seats next to each other'}" },
        { "best 1 ann 1", "!DENIED never {'rule':'never'}" });
}

/* Rules that allow a single seat at a row's end only do not drown in refused choices in front. */
static void test_ends_first(void **state)
{
    (void)state;
    PLAY({ "policy local rules = require 'usher.rules' return policy { rules = { "
           "rules.no_orphans { aisles = true } } }",
           "" },
         { "add-event 1 {'rows':[{'name':'A','seats':5},{'name':'B','seats':2}]}", "{}" },
         { "block 1 A1 A5", "{}" }, { "best 1 ann 2", "{'seats':[{'seat':'B1'},{'seat':'B2'}]}" },
         { "best 1 bob 2", "!DENIED no_orphans" },
         { "best 1 bob 3", "{'seats':[{'seat':'A2'},{'seat':'A3'},{'seat':'A4'}]}" });
}

/* A party is parted only if asked to, and (where there is a choice) so that no seat is left
 * alone. */
static void test_split_only_if_asked(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':3},{'row':'B','seats':4}]", "{}" }, { POLICY(""), "" },
         { "find 1 5", "{'why':'~no 5 free seats next to each other'}" },
         { "find 1 5 --split", "{'o':'A1 A2 A3 B1 B2'}" },
         { "best 1 ann 5", "!TAKEN next to each other; ask for fewer" },
         { "best 1 ann 5 --split", "{'seats':['*','*','*','*','*']}" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_orphans_last),
        cmocka_unit_test(test_aisles),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_accessible_last),
        cmocka_unit_test(test_category),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_rules_are_lazy),
        cmocka_unit_test(test_score_by_tiers),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_score_is_kept_apart),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_leaves_are_a_reseat),
        cmocka_unit_test(test_order_is_reseated),
        cmocka_unit_test(test_leaves),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_shipped_orders),
        cmocka_unit_test(test_focal_at_origin),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_prices_of_moves_and_types),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_ends_first),
        cmocka_unit_test(test_split_only_if_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
