/* The shipped rules (lua/usher/rules.lua) over the real VM and store: what each grants, what
 * it refuses, which seat and which alternative it names. Lines as in tests/lib/play.h. */
#include "lib/play.h"

/* A: 4 seats, an aisle, 6 seats; B: 10 seats, gold. */
#define HOUSE                                                                                      \
    { "add-chart hall {'sections':[{'name':'stalls','rows':[{'name':'A','seats':10,"               \
      "'aisles':[4]}]},{'name':'circle','rows':[{'name':'B','seats':10,'category':'gold'}]}],"     \
      "'areas':[{'name':'FLOOR','capacity':20}]}",                                                 \
      "{}" },                                                                                      \
        { "add-event 1 hall", "{}" },                                                              \
    {                                                                                              \
        "add-event 2 hall", "{}"                                                                   \
    }
#define RULES(text)                                                                                \
    {                                                                                              \
        "policy local rules = require 'usher.rules' return policy { rules = { " text " } }", ""    \
    }

/* Limits count holds and bookings, areas by heads, and each event by itself. */
static void test_max_per_customer(void **state)
{
    (void)state;
    PLAY(RULES("rules.max_per_customer(4)"), HOUSE, { "x = hold 1 ann A1 A2", "{}" },
         { "book 1 ann A5 A6 A7",
           "!LIMIT at most 4 seats for each customer at this event: 2 are taken already, 3 were "
           "asked for; 2 more may be taken {'rule':'max_per_customer'}" },
         { "book 1 ann A5 FLOOR*2", "!LIMIT 3 were asked for" }, { "book 1 ann FLOOR*2", "{}" },
         { "book 1 ann A9", "!LIMIT 4 are taken already, 1 was asked for; give a seat back first" },
         { "book 2 ann A1 A2 A3 A4", "{}" }, { "book 1 bob A9", "{}" }, { "move $x A1 B1", "{}" },
         { "confirm $x", "{}" }, { "cancel $x A2", "{}" }, { "book 1 ann A9 A10", "!TAKEN" },
         { "book 1 ann A10 B9", "!LIMIT" }, { "book 1 ann A10", "{}" },
         { "book 1,2 cid A1", "!BADARG" }, { "book 1 cid A1 2:A5", "{}" });
}

/* Party sizes are judged when seats are taken and not when an order is moved. */
static void test_party(void **state)
{
    (void)state;
    PLAY(RULES("rules.party{ min = 2, max = 6, step = 2 }"), HOUSE,
         { "book 1 ann A1", "!DENIED a party of 1 is too small; take at least 2 {'rule':'party'}" },
         { "book 1 ann A1..A3", "!DENIED 3 seats cannot be taken together" },
         { "book 1 ann B1..B8", "!DENIED a party of 8 is too large" },
         { "x = book 1 ann A1 A2", "{}" }, { "move $x A1 B5", "{}" },
         { "book 1 ann FLOOR*6", "{}" }, { "book 1 bob A3 A4 2:A1", "!DENIED a party of 1" });
}

/* A late confirm is judged as a take: what opened the sale then opens it now. */
static void test_late_confirm_with_code(void **state)
{
    (void)state;
    PLAY({ "policy local rules = require 'usher.rules' return policy { late_confirm = true, rules "
           "= { "
           "rules.channels { { keys = { 'KEY' }, categories = { 'gold' } } } } }",
           "" },
         HOUSE, { "x = hold 1 ann B1 --code KEY --ttl 1m", "{}" }, { "pass 2m", "" },
         { "confirm $x", "!DENIED give its key with --code {'rule':'channels'}" },
         { "confirm $x --code KEY", "{'status':'booked'}" });
}

/* What a booking is told to take instead is judged as a booking, for a hold as a hold. */
static void test_alternative_to_a_booking(void **state)
{
    (void)state;
    PLAY(RULES("rules.party{ min = 2, at = 'confirm' }"), HOUSE, { "hold 1 ann A2", "{}" },
         { "book 1 bob A2", "!TAKEN is held {'seat':'A2','alternative':'(absent)'}" },
         { "book 1 bob A3", "!DENIED a party of 1" },
         { "hold 1 bob A2", "!TAKEN free nearby: A3 {'alternative':['A3']}" },
         { "book 1 bob A2 A3", "!TAKEN {'alternative':['A3','A4']}" });
}

/* A chart has coordinates or not: a seat at the origin has, like any other; and exactly the
 * distance is enough, though the coordinates are kept as float. */
static void test_distance(void **state)
{
    (void)state;
#define ROW(name, a, ax, b, bx, c, cx, y)                                                          \
    "{'name':'" name "','seats':[{'label':'" a "','x':" ax ",'y':" y "},{'label':'" b "','x':" bx  \
    ",'y':" y "},{'label':'" c "','x':" cx ",'y':" y "}]}"
    PLAY(RULES("rules.distance(2)"),
         { "add-event 1 {'rows':[" ROW("A", "A1", "0", "A2", "1", "A3", "2", "0") "," ROW(
               "B", "B1", "0", "B2", "1", "B3", "2", "1") "," ROW("C", "C1", "0", "C2", "1", "C3",
                                                                  "2", "2") "]}",
           "{}" },
         { "book 1 ann A1", "{}" }, { "book 1 bob B2", "!DENIED B2 is too close" },
         { "book 1 bob C1", "{}" }, { "book 1 cid A3", "{}" },
         { "seats 1 --full", "{'rows':[{'seats':[{'seat':'A1','x':0,'y':0},'*','*']},'*','*']}" });
    PLAY(RULES("rules.distance(1.5)"),
         { "add-event 1 {'rows':[" ROW("A", "A1", "-1", "A2", "0", "A3", "1", "-1") "," ROW(
               "B", "B1", "-1", "B2", "0", "B3", "1", "0") "]}",
           "{}" },
         { "book 1 ann B2", "{}" }, { "book 1 bob B3", "!DENIED B3 is too close" },
         { "book 1 bob A2", "!DENIED A2 is too close" });
    PLAY(RULES("rules.distance(1.1)"),
         { "add-event 1 {'rows':[" ROW("A", "A1", "0.55", "A2", "1.65", "A3", "2.74", "1") "]}",
           "{}" },
         { "book 1 ann A1", "{}" }, { "book 1 bob A2", "{}" },
         { "book 1 cid A3", "!DENIED A3 is too close" });
#undef ROW
}

/* A party sits in one block of neighbours; an aisle parts neighbours. */
static void test_adjacent(void **state)
{
    (void)state;
    PLAY(RULES("rules.adjacent{}"), HOUSE, { "book 1 ann A1 A2 A3", "{}" },
         { "book 1 bob A4 A5",
           "!DENIED the seats are not next to each other: A5 is apart; possible: A5 A6 "
           "{'rule':'adjacent','seat':'A5','alternative':['A5','A6']}" },
         { "book 1 bob A6 B6", "!DENIED B6 is apart" }, { "book 1 bob A7 A6 A8", "{}" },
         { "book 1 bob FLOOR*3 B1", "{}" }, { "x = book 1 cid B5 B6", "{}" },
         { "move $x B6 B8", "!DENIED B8 is apart" }, { "move $x B6 B4", "{}" });
    PLAY(RULES("rules.adjacent{ split = 2 }"), HOUSE, { "book 1 ann A1 A2 A5 A6", "{}" },
         { "book 1 bob A3 A8 B1", "!DENIED in more than 2 blocks: B1 is apart" });
}

/* No free seat is left alone between taken ones; with aisles, one at an end may be. */
static void test_no_orphans(void **state)
{
    (void)state;
    PLAY(RULES("rules.no_orphans{ aisles = true }"), HOUSE, { "hold 1 ann A1 A2", "{}" },
         { "book 1 bob A4", "!DENIED this would leave A3 alone; possible: A5 "
                            "{'rule':'no_orphans','seat':'A3','alternative':['A5']}" },
         { "book 1 bob A4 --dry-run",
           "!DENIED A3 alone {'rules':[{'ok':false,'message':'this would leave A3 alone'}]}" },
         { "book 1 bob A4=child",
           "!DENIED A3 alone; possible: A5=child {'alternative':['A5=child']}" },
         { "book 1 bob A4=child A5 --dry-run",
           "!DENIED A3 alone {'alternative':['A5=child','A6']}" },
         { "book 1 bob A3", "{}" }, { "book 1 cid A7", "{}" },
         { "book 1 dan A9", "!DENIED A8 alone; possible: A10 {'alternative':['A10']}" },
         { "book 1 dan A9 A10", "!DENIED A8 alone {'alternative':['A8','A9']}" },
         { "book 1 dan A8 A9", "{}" }, { "book 1 eve A5", "!DENIED A6 alone" },
         { "book 1 eve A6", "{}" }, { "book 2 eve A6 A8", "!DENIED A7 alone" },
         { "book 2 eve A6 A9", "{}" });
}

/* Without aisles a seat at a row's end or beside an aisle counts too. */
static void test_no_orphans_strict(void **state)
{
    (void)state;
    PLAY(RULES("rules.no_orphans()"), HOUSE,
         { "book 1 ann A2", "!DENIED this would leave A1 alone; possible: A1" },
         { "book 1 ann A1 A2 A3", "!DENIED A4 alone {'alternative':['A5','A6','A7']}" },
         { "book 1 ann A1..A4", "{}" },
         { "book 1 ann A6..A8", "!DENIED A5 alone {'alternative':['A5','A6','A7']}" },
         { "book 1 ann A5..A9",
           "!DENIED A10 alone; take A10 too {'alternative':['B1','B2','B3','B4','B5']}" },
         { "x = book 1 ann B1 B2", "{}" }, { "move $x B2 B3", "!DENIED B2 alone" },
         { "move $x B2 B10", "{}" });
}

/* Feasible: an orphan is allowed when nothing else of that size and category is possible. */
static void test_no_orphans_feasible(void **state)
{
    (void)state;
    PLAY(RULES("rules.no_orphans{ feasible = 'event' }"), HOUSE, { "book 1 ann A1..A4", "{}" },
         { "book 1 ann A5 A6 A7", "{}" }, { "book 1 bob A8 A9", "{'seats':['*','*']}" },
         { "book 2 ann A1 A2", "{}" }, { "book 2 bob A3", "!DENIED A4 alone" });
    PLAY(RULES("rules.no_orphans{ feasible = 'block' }"),
         { "add-event 1 [{'row':'A','seats':3,'section':'s'},{'row':'B','seats':3,'section':'t'}]",
           "{}" },
         { "book 1 ann A1 A2", "{}" }, { "book 1 bob B2", "!DENIED" });
    PLAY(RULES("rules.no_orphans{ feasible = 'event' }"),
         { "add-event 1 [{'row':'A','seats':3,'section':'s'},{'row':'B','seats':2,'section':'t'}]",
           "{}" },
         { "book 1 ann A1 A2", "!DENIED A3 alone {'alternative':['B1','B2']}" });
}

/* A swap is judged for both orders as the seats are afterwards; refused, it changes nothing. */
static void test_swap(void **state)
{
    (void)state;
    PLAY(RULES("rules.max_per_customer(2)"), HOUSE, { "x = book 1 ann A1 A2", "{}" },
         { "z = book 2 ann A1", "{}" }, { "y = book 1 bob B1", "{}" },
         { "w = book 2 bob A2 A3", "{}" }, { "swap $x A1 $y B1", "{}" },
         { "swap $z A1 $y A1", "!LIMIT {'rule':'max_per_customer'}" },
         { "order $y", "{'customer':'bob','seats':[{'event':'1','seat':'A1'}]}" },
         { "order $z", "{'customer':'ann','seats':[{'event':'2','seat':'A1'}]}" });
    PLAY(RULES("rules.no_orphans()"), HOUSE, { "x = book 1 ann A1 A2", "{}" },
         { "y = book 1 bob A3 A4", "{}" }, { "swap $x A2 $y A3", "{}" });
}

/* A repeated request gets the order when the wait was served, at once or later, else its place. */
static void test_wait_again(void **state)
{
    (void)state;
    PLAY({ "add-event 1 [{'row':'A','seats':2}]", "{}" },
         { "wait 1 ann 2", "{'status':'held','customer':'ann'}" },
         { "again", "{'status':'held','customer':'ann'}" }, { "wait 1 bob 1", "{'place':1}" },
         { "again", "{'place':1,'customer':'bob','order':'(absent)'}" },
         { "pass 15m", "" }, /* ann's hold runs out, the seat is bob's */
         { "again", "{'event':'1','customer':'bob','waiting':false,'order':'*','status':'held',"
                    "'seats':[{'event':'1','seat':'A1'}]}" },
         { "pass 1h", "" },
         { "again", "{'customer':'bob','waiting':false,'order':'*','status':'expired'}" });
}

/* The same rule judges `best`: it never picks what it would refuse. */
static void test_best_obeys(void **state)
{
    (void)state;
    PLAY(RULES("rules.no_orphans()"), HOUSE,
         { "best 1 ann 3 --category default --book", "{'seats':['*','*','*']}" },
         { "best 1 bob 5 --category default", "{'seats':[{'seat':'FLOOR','count':5}]}" },
         { "best 1 bob 2 --category default", "{}" }, { "best 1 bob 4 --category gold", "{}" });
}

/* A rule can exempt a role, and a policy's own rule judges like a shipped one. */
static void test_own_rules(void **state)
{
    (void)state;
    PLAY(RULES("rule { name = 'even', seat = function(tx, ask, seat) return seat.position % 2 == 0 "
               "end, message = 'SEAT is an odd one', code = 'LIMIT', hint = 'even ones' }"),
         HOUSE, { "book 1 ann A2 A4", "{}" },
         { "book 1 ann A3", "!LIMIT A3 is an odd one; even ones {'rule':'even','seat':'A3'}" },
         { "best 1 bob 1 --category gold", "{'seats':[{'seat':'~B'}]}" });
    PLAY(
        RULES("function(tx, ask) if ask.customer == 'bob' then deny 'not you' end return true end"),
        HOUSE, { "book 1 ann A1", "{}" }, { "book 1 bob A2", "!DENIED not you {'rule':'rule 1'}" },
        { "book 1 bob A2 --dry-run", "!DENIED not you" });
}

/* A presale asks for a code; the time is the entry's. */
static void test_window(void **state)
{
    (void)state;
    PLAY(RULES("rules.window{ from = 60000, to = 120000, codes = { 'FAN' } }"), HOUSE,
         { "book 1 ann A1", "!DENIED the sale has not begun {'rule':'window'}" }, { "pass 1m", "" },
         { "book 1 ann A1", "!DENIED this is a presale, for those who have a code; give it with "
                            "--code" },
         { "book 1 ann A1 --code NO", "!DENIED presale" },
         { "book 1 ann A1 --code NO --code FAN", "{}" }, { "pass 1m", "" },
         { "book 1 ann A2", "{}" });
}

/* Prices by category and ticket type; rulesets have their own. */
static void test_prices(void **state)
{
    (void)state;
    PLAY({ "policy local rules = require 'usher.rules' return policy { price = rules.price_zones { "
           "default = 1000, gold = { 2500, child = 900 } }, rulesets = { gala = { price = "
           "rules.price_zones { gold = 9900 } } } }",
           "" },
         HOUSE, { "set-event 1 --rules gala --dry-run", "{}" },
         { "x = book 1 ann A1 B1 B2=child FLOOR*3",
           "{'price':7400,'lines':[{'category':'default','count':4,'price':1000,'total':4000},"
           "{'category':'gold','count':1,'price':2500,'total':2500},"
           "{'category':'gold','type':'child','price':900}]}" },
         { "move $x A1 A2", "{'price':7400}" }, { "move $x A2 B3", "{'price':8900}" },
         { "book 1 bob B4=dog", "!BADARG there is no ticket 'dog' for B4 {'rule':'price_zones'}" },
         { "add-event 3 hall --rules gala", "{}" }, { "book 3 ann B1", "{'price':9900}" },
         { "book 3 ann A1", "!DENIED A1 has no price" });
}

/* Rules judge the whole request, on every event it touches. */
static void test_two_events(void **state)
{
    (void)state;
    PLAY(
        { "policy local rules = require 'usher.rules' return policy { rulesets = { few = { rules = "
          "{ rules.max_per_customer(1) } } } }",
          "" },
        HOUSE, { "add-event 3 hall --rules few", "{}" }, { "book 1 ann A1 A2 3:A1", "{}" },
        { "book 1 ann A3 3:A2", "!LIMIT" }, { "seats 1", "{'counts':{'booked':2}}" },
        { "best 1,3 bob 1", "{}" }, { "best 1,3 bob 1", "!LIMIT max_per_customer" });
}

/* What is wrong with a policy is said when it is loaded, and changes nothing. */
static void test_wrong_policies(void **state)
{
    (void)state;
    PLAY(RULES("rules.max_per_customer(1)"),
         { "policy return policy { rules = { 5 } }", "!rules[1] is a number, not a rule" },
         { "policy local r = require 'usher.rules' return policy { rules = { r.party { max = 0 } } "
           "}",
           "!party: max must be a whole number" },
         { "policy return policy { hold_ttl = 'soon' }", "!hold_ttl is not a duration" },
         { "policy return policy {", "!policy.lua:1" }, HOUSE, { "book 1 ann A1 A2", "!LIMIT" });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_per_customer),
        cmocka_unit_test(test_party),
        cmocka_unit_test(test_alternative_to_a_booking),
        cmocka_unit_test(test_late_confirm_with_code),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_adjacent),
        cmocka_unit_test(test_no_orphans),
        cmocka_unit_test(test_no_orphans_strict),
        cmocka_unit_test(test_no_orphans_feasible),
        cmocka_unit_test(test_wait_again),
        cmocka_unit_test(test_best_obeys),
        cmocka_unit_test(test_swap),
        cmocka_unit_test(test_own_rules),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_two_events),
        cmocka_unit_test(test_wrong_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
