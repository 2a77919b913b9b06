/* The policy VM over a real store: the evaluation protocol, objects, rules. What single commands
 * answer is tested in test_commands.c, the shipped rules in test_rules.c, hooks and expiries in
 * test_policy_hooks.c, the sandbox in test_sandbox.c, tx:best in test_policy_best.c, words and
 * texts in test_policy_texts.c, bundles and their deployment in test_policy_bundles.c. */
#include "base/mem.h"
#include "house.h"
#include "policy/random.h"

/* Every field of docs/lua.md, 3, is there and tells the present. */
static void test_fields(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("", "local e = req.event return { id = e.id, status = e.status, n = e.attributes.n, "
                 "text = e.attributes_text, rules = e.ruleset, cur = e.currency, zone = e.zone, "
                 "free = e.counts.free, rows = #e:rows(), areas = #e:areas() }"),
          "" },
        { "t 1", "{'id':'1','status':'open','n':1,'text':'~zone','rules':'','cur':'EUR','zone':"
                 "'Europe/Helsinki','free':7,'rows':2,'areas':1}" },
        { DO("", "local s = req.event:seat('A2') local r = s.row return { label = s.label, ev = "
                 "s.event.id, row = r.name, sec = s.section, pos = s.position, cat = s.category, "
                 "acc = s.accessible, com = s.companion, res = s.restricted, st = s.status, ord = "
                 "s.order == nil, len = #r, same = r[s.position] == s, gone = r[5] == nil, zero = "
                 "r[0] == nil, sec2 = r.section, me = s.seat == s }"),
          "" },
        { "t 1", "{'label':'A2','ev':'1','row':'A','sec':'s','pos':2,'cat':'gold','acc':false,"
                 "'com':false,'res':false,'st':'free','ord':true,'len':4,'same':true,'gone':true,"
                 "'zero':true,'sec2':'s','me':true}" },
        { DO("", "local s = req.event:seat('A2') local e = req.event return { aisle = s:next(1) == "
                 "nil, across = s:next(1, true).label, left = s:next(-1).label, edge = "
                 "e:seat('A1'):next(-1, true) == nil, last = e:seat('A4'):next() == nil, none = "
                 "e:seat('Z9') == nil, near = e:nearest('A44') ~= nil }"),
          "" },
        { "t 1", "{'aisle':true,'across':'A3','left':'A1','edge':true,'last':true,'none':true,"
                 "'near':true}" },
        { DO("", "local a = req.event:area('FLOOR') return { name = a.name, cap = a.capacity, "
                 "free = a.free, held = a.held, booked = a.booked, cat = a.category }"),
          "" },
        { "hold 1 bob FLOOR*2", "{}" },
        { "t 1", "{'name':'FLOOR','cap':20,'free':18,'held':2,'booked':0,'cat':'default'}" });
}

/* The index of an answer is waited for by whoever reads next, so it is none of the future. */
static void test_index_of_answer(void **state)
{
    (void)state;
    PLAY(HOUSE, { DO("", "return { n = 1, index = 1 << 40 }"), "" }, { "t 1", "{'n':1,'index':1}" },
         { DO("", "tx:set('k', 1) return { n = 2, index = 1 << 40 }"), "" },
         { "t 1", "{'n':2,'index':3}" }, { DO("", "return { n = 3, index = 1 }"), "" },
         { "t 1", "{'n':3,'index':1}" });
}

/* An order shows its places, lines and times; a place is a seat with a type and a count. */
static void test_order_fields(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("",
              "local o = tx:take { customer = 'ann', seats = req.seats, hold = '90s', metadata "
              "= '{}' } local p = o.seats[2] return { st = o.status, cust = o.customer, "
              "ex = o.expires_at, first = o.first_held_at, n = #o.seats, type = p.type, label = "
              "p.label, count = o.seats[3].count, area = o.seats[3].area.name, meta = o.metadata, "
              "price = o.price, lines = #o.lines, same = p == o.seats[2], order = p.seat.order == "
              "o, again = tx:order(o.id) == o, none = tx:order('nope') == nil, cur = o.currency }"),
           "" },
         { "t 1 A1 A2=child FLOOR*3",
           "{'st':'held','cust':'ann','ex':91000,'first':1000,'n':3,'type':'child','label':'A2',"
           "'count':3,'area':'FLOOR','meta':'{}','price':0,'lines':3,'same':true,'order':"
           "true,'again':true,'none':true,'cur':'EUR'}" });
}

/* runs are free neighbours, never across an aisle. */
static void test_runs(void **state)
{
    (void)state;
    static const char body[] = DO(
        "", "local o = json.list {} for i, run in ipairs(req.event:runs { min = "
            "tonumber(req.mode) or 1 }) do local l = {} for k, s in ipairs(run) do l[k] = s.label "
            "end o[i] = table.concat(l, ' ') end return { o = o }");
    PLAY(HOUSE, { body, "" }, { "t 1", "{'o':['A1 A2','A3 A4','B1 B2 B3']}" },
         { "t 1 --mode 3", "{'o':['B1 B2 B3']}" }, { "book 1 ann A1 B2", "{}" },
         { "t 1", "{'o':['A2','A3 A4','B1','B3']}" }, { "t 1 --mode 2", "{'o':['A3 A4']}" },
         { DO("", "return { n = #req.event:runs { category = 'gold' }, z = #req.event:runs { "
                  "category = 'none' } }"),
           "" },
         { "t 1", "{'n':2,'z':0}" });
}

/* An object of an earlier call, and tx itself outside of a call, raise on any use. */
static void test_dead_objects(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("",
              "if not kept then kept = { req.event, req.event:seat('A1'), req.seats[1], "
              "req.event:rows()[1], req.event:area('FLOOR') } return {} end local bad = 0 for _, o "
              "in ipairs(kept) do if not pcall(function() return o.label or o.id or o.name end) "
              "then bad = bad + 1 end end return { bad = bad, text = tostring(kept[1]) }"),
           "" },
         { "t 1 A1", "{}" }, { "t 1 A1", "{'bad':5,'text':'event'}" },
         { DO("", "if not kept then kept = req.event return {} end return { x = kept.id }"), "" },
         { "t 1", "{}" }, { "t 1", "!INTERNAL after the call" },
         { DO("", "if not kept then kept = req.event:seat('A1') return {} end return "
                  "tx:take { customer = 'c', seats = { kept } }"),
           "" },
         { "t 1", "{}" }, { "t 1", "!INTERNAL after the call" });
}

/* Objects, tx and the request's parts cannot be written to; unknown fields raise. */
static void test_read_only(void **state)
{
    (void)state;
    PLAY(HOUSE, { DO("", "req.event.id = 'x'"), "" }, { "t 1", "!INTERNAL read-only" },
         { DO("", "req.event:seat('A1').status = 'free'"), "" }, { "t 1", "!INTERNAL read-only" },
         { DO("", "tx.now = 5"), "" }, { "t 1", "!INTERNAL read-only" },
         { DO("", "rawset(req.event, 'id', 1)"), "" }, { "t 1", "!INTERNAL table expected" },
         { DO("", "return req.event.lable"), "" },
         { "t 1", "!INTERNAL event has no field 'lable'" }, { DO("", "tx.take = type"), "" },
         { "t 1", "!INTERNAL a tx is read-only" }, { DO("", "return tx.nwo"), "" },
         { "t 1", "!INTERNAL tx has no field 'nwo'" }, { DO("", "return tx[1]"), "" },
         { "t 1", "!INTERNAL tx has no such field" },
         { DO("", "return { now = tx.now > 0, dry = tx.dry_run, user = tx.user }"), "" },
         { "t 1", "{'dry':false,'now':true}" }, { DO("", "tx:take { custmer = 'c' }"), "" },
         { "t 1", "!INTERNAL did you mean 'customer'" },
         { DO("", "tx.take { customer = 'c' }"), "" }, { "t 1", "!INTERNAL expected" },
         { DO("", "return getmetatable(tx) == false and getmetatable(req.event) == false and {}"),
           "" },
         { "t 1", "{}" });
}

/* A refusal or an error undoes every effect of its call (play checks the digest). */
static void test_undo(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("", "tx:set('k', 1) tx:take { customer = 'c', seats = req.seats } "
                 "if req.mode == 'deny' then deny 'no' elseif req.mode == 'bug' then local x = nil "
                 "return x.y elseif req.mode == 'loop' then while true do end elseif req.mode == "
                 "'memory' then local s = 'x' while true do s = s .. s end elseif req.mode == "
                 "'answer' then return { f = type, g = function() end } end return {}"),
          "" },
        { "t 1 A1 --mode deny", "!DENIED no" }, { "t 1 A1 --mode bug", "!INTERNAL policy.lua:1:" },
        { "t 1 A1 --mode loop", "!INTERNAL budget of 10" },
        { "t 1 A1 --mode memory", "!INTERNAL memory" },
        { "t 1 A1 --mode answer", "!INTERNAL function" }, { "t 1 A1 --dry-run", "{}" },
        { "t 1 A1", "{}" }, { "t 1 A1", "!TAKEN A1 {'seat':'A1'}" });
}

/* What a script's pcall has caught is over: the rest goes on, effects before it stay. */
static void test_caught(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("",
              "tx:take { customer = 'ann', seats = { 'A1' }, event = req.event } local ok, e = "
              "pcall(tx.take, tx, { customer = 'bob', seats = { 'A1' }, event = req.event }) local "
              "o = tx:take { customer = 'bob', seats = { 'A2' }, event = req.event } return { ok = "
              "ok, code = e.code, seat = e.seat, order = o }"),
           "" },
         { "t 1", "{'ok':false,'code':'TAKEN','seat':'A1','order':{'customer':'bob','seats':["
                  "{'seat':'A2'}]}}" },
         { "seats 1", "{'taken':{'A1':'booked','A2':'booked'}}" });
}

/* Rules and price functions look, and change nothing; nor does a reading command. */
static void test_read_only_rules(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { DO("rules = { function(tx) tx:set('x', 1) return true end },", "return {}"), "" },
        { "book 1 ann A1", "!INTERNAL rules, prices and scores only look" },
        { DO("price = function(tx) tx:emit('x') return 1 end,", "return {}"), "" },
        { "book 1 ann A1", "!INTERNAL rules, prices and scores only look" },
        { DO("rules = { function(tx) pcall(tx.set, tx, 'x', 1) return true end }, hooks = { take = "
             "function(tx) tx:set('y', 1) end },",
             "return {}"),
          "" },
        { "book 1 ann A1", "{}" }, { "get y", "{}" },
        { "policy return policy { commands = { command { name = 'r', kind = 'transaction', read = "
          "'local', group = 'g', summary = 's', example = 'r', run = function(tx) tx:set('z', 1) "
          "end } } }",
          "" },
        { "r", "!INTERNAL only reads" });
}

/* A rule refuses with its name, the policy's version and the seat; roles and verbs exempt. */
static void test_rules(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("rules = { rule { name = 'front', code = 'LIMIT', message = 'not SEAT', hint = 'go "
             "back', seat = function(tx, ask, seat) return seat.row.name ~= 'A' end }, rule { name "
             "= 'late', on = 'confirm', check = function(tx, ask) return nil, { message = ask.verb "
             ".. ask.command .. ask.order.status } end }, rule { name = 'staff', exempt = { "
             "'boss' }, check = function(tx, ask) if ask.customer == 'mallory' then deny "
             "'go away' end return true end } },",
             "return {}"),
          "" },
        { "book 1 ann B1 A3", "!LIMIT not A3; go back {'rule':'front','policy':1,'seat':'A3'}" },
        { "x = hold 1 ann B1", "{}" },
        { "confirm $x", "!DENIED confirmconfirmheld {'rule':'late'}" },
        { "book 1 mallory B2", "!DENIED go away {'rule':'staff'}" }, { "book 1 eve B2", "{}" },
        { "book 1 zoe A1 A2", "!LIMIT not A1" });
}

/* What an ask tells: the party, codes, the user, statuses as if it had been granted. */
static void test_ask(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("rules = { function(tx, ask) local e = ask.event return nil, { message = "
              "table.concat({ ask.verb, ask.command, #ask.seats, #ask.leaves, ask.customer, "
              "ask.user.name, ask.user.access, tostring(ask.codes.vip), ask:status(e:seat('A1')), "
              "ask:status(e:seat('A2')), ask:status(e:seat('B1')), ask.seats[1].type or '-' }, ' "
              "') } "
              "end },",
              "return {}"),
           "" },
         { "hold 1 ann A1=kid --code vip",
           "!DENIED take hold 1 0 ann test admin true held free free kid" },
         { "book 1 ann A1 A2", "!DENIED take book 2 0 ann test admin nil booked booked free -" });
}

/* On a move the ask has all places after it, the new ones and those given up. */
static void test_reseat_ask(void **state)
{
    (void)state;
    PLAY(
        HOUSE, { "x = book 1 ann A1 A2", "{}" },
        { DO("rules = { rule { on = 'reseat', check = function(tx, ask) local e = ask.event return "
             "nil, ('%s %d %d %d %s %s %s'):format(ask.order.id, #ask.seats, #ask.gains, "
             "#ask.leaves, ask:status(e:seat('A1')), ask:status(e:seat('A2')), "
             "ask:status(e:seat('A3'))) end } },",
             "return {}"),
          "" },
        { "move $x A1 A3", "!DENIED $x 2 1 1 free booked booked" });
}

/* Rules run once for each event touched, each with its own places and ruleset. */
static void test_two_events(void **state)
{
    (void)state;
    PLAY({ "add-chart hall [{'row':'A','seats':4}]", "{}" },
         { DO("rules = { function(tx, ask) tx.now = nil end },", "return {}"), "" },
         { "policy return policy { name = 'p', rules = {}, rulesets = { two = { rules = { rule { "
           "name = 'one', check = function(tx, ask) return #ask.seats < 2 and ask.event.id == '2', "
           "'too many at ' .. ask.event.id end } } } } }",
           "" },
         { "add-event 1 hall", "{}" }, { "add-event 2 hall --rules two", "{}" },
         { "add-event 3 hall --rules none", "!NOTFOUND none" },
         { "book 1 ann A1 A2 2:A1", "{'seats':['*','*','*']}" },
         { "book 1 bob A3 2:A2 2:A3", "!DENIED too many at 2 {'rule':'one'}" },
         { "policy return policy { name = 'bare' }", "" },
         { "book 2 bob A4", "!CONFLICT the rules 'two', which the policy 'bare' lacks" },
         { "book 1 bob A4", "{}" });
}

/* rules=false is granted and recorded. */
static void test_unjudged(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("rules = { function() return nil, 'never' end },",
              "return tx:take { customer = 'c', seats = req.seats, rules = req.mode ~= 'free' }"),
           "" },
         { "t 1 A1", "!DENIED never" }, { "x = t 1 A1 --mode free", "{}" }, { "explain $x", "{}" },
         { DO("",
              "local o = req.event:seat('A1').order return { un = o.unjudged, policy = o.policy }"),
           "" },
         { "t 1", "{'un':true,'policy':1}" });
}

/* Prices come per place, sum up, and must be whole numbers. */
static void test_prices(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("price = function(tx, ask, seat) if seat.type == 'kid' then return 50 end return "
              "seat.category == 'gold' and 200 or 100 end,",
              "return {}"),
           "" },
         { "x = book 1 ann A1 B1=kid FLOOR*2",
           "{'price':450,'currency':'EUR','lines':[{'category':'gold','count':1,'price':200,"
           "'total':200},{'type':'kid','price':50},{'count':2,'price':100,'total':200}]}" },
         { "move $x A1 B2", "{'price':350}" },
         { DO("price = function(tx, ask, seat) return (ask.codes.HALF and 50 or 100) + #ask.gains "
              "+ (ask:status(seat) == ask.after and ask.user.roles and 1 or 0) end,",
              "return {}"),
           "" },
         { "book 1 dan A2 --code HALF", "{'price':52}" }, { "book 1 dan A3", "{'price':102}" },
         { DO("price = function() return 1.5 end,", "return {}"), "" },
         { "book 1 bob A1", "!INTERNAL whole number" },
         { DO("price = function() return -1 end,", "return {}"), "" },
         { "book 1 bob A1", "!INTERNAL whole number" },
         { DO("price = function() end,", "return {}"), "" }, { "book 1 bob A1", "!INTERNAL nil" });
}

/* What is attempted may raise, loop or fill the memory: its effects go, the command stays. Several
 * that use up their part one after the other are no way around the budget. */
static void test_attempt(void **state)
{
    (void)state;
    static const char *const bodies[] = { "deny 'no'",
                                          "error 'bug'",
                                          "while true do end",
                                          "while true do pcall(error) end",
                                          "table.sort({ 1, 2 }, function() while true do end end)",
                                          "local s = 'x' while true do s = s .. s end" };
    play_instructions = 1000000;
    play_memory = 16u * 1024 * 1024;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char policy[900];
        snprintf(policy, sizeof policy,
                 DO("",
                    "tx:set('a', 1) local ok = tx:attempt(function(x) tx:set('b', x) %s end, 2) "
                    "tx:set('c', 3) return { ok = ok, b = tx:get 'b' == nil }"),
                 bodies[i]);
        PLAY(HOUSE, { policy, "" }, { "t 1", "{'ok':false,'b':true}" }, { "get a", "{'value':1}" },
             { "get b", "!NOTFOUND" }, { "get c", "{'value':3}" });
    }
    PLAY(HOUSE,
         { DO("", "local used = tx:used() local ok, b, c = tx:attempt(function(x) tx:set('b', x) "
                  "for _ = 1, 100000 do end return x, 3 end, 2) "
                  "return { ok = ok, b = b, c = c, more = tx:used() > used }"),
           "" },
         { "t 1", "{'ok':true,'b':2,'c':3,'more':true}" }, { "get b", "{'value':2}" },
         { DO("", "while true do tx:attempt(function() while true do end end) end"), "" },
         { "t 1", "!INTERNAL ran over its budget" }, { DO("", "tx:attempt(5)"), "" },
         { "t 1", "!INTERNAL function expected" });
    play_instructions = play_memory = 0;
}

/* Hold times: the ruleset's longest is enforced for take and extend. */
static void test_hold_limits(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { "policy return policy { name = 'p', hold_ttl = '1m', hold_max = '2m', rulesets = { quick "
          "= { hold_ttl = '5s', hold_max = '10s' } } }",
          "" },
        { "x = hold 1 ann A1", "{'expires_at':61000}" }, { "hold 1 ann A2 --ttl 3m", "!LIMIT 120" },
        { "pass 30s", "" }, { "extend $x --ttl 90s", "{'expires_at':121000}" },
        { "extend $x --ttl 91s", "!LIMIT" }, { "set-event 1 --rules quick", "{}" },
        { "hold 1 ann A2", "{'expires_at':36000}" });
}

/* A late confirm takes the same seats again, if they are still free. */
static void test_late(void **state)
{
    (void)state;
    PLAY(HOUSE, { DO("", "return tx:take { late = kept }"), "" },
         { "policy return policy { name = 'p', commands = { command { name = 'late', kind = "
           "'transaction', group = 'g', summary = 's', example = 'late X', args = { { 'order', "
           "'order' } }, run = function(tx, req) return tx:take { late = req.order } end } } }",
           "" },
         { "x = hold 1 ann A1 A2=kid --ttl 10 --metadata {'a':1}", "{}" },
         { "late $x", "!CONFLICT held" }, { "pass 11s", "" },
         { "late $x", "{'order':'$x','status':'booked','customer':'ann','seats':[{'seat':'A1'},"
                      "{'seat':'A2','type':'kid'}],'metadata':{'a':1}}" },
         { "late $x", "!CONFLICT booked" }, { "y = hold 1 bob A3 --ttl 10", "{}" },
         { "pass 11s", "" }, { "book 1 zoe A3", "{}" }, { "late $y", "!TAKEN A3" });
}

/* A dry run changes nothing, and says what every rule said, also after the first refusal. */
static void test_dry_run(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("rules = { rule { name = 'one', check = function(tx, ask) return ask.customer ~= "
             "'bob', 'not bob' end }, rule { name = 'two', check = function() return true end } },",
             "return json.list { 1, 2 }"),
          "" },
        { "book 1 ann A1 --dry-run",
          "{'order':'*','status':'booked','dry_run':true,'rules':[{"
          "'rule':'one','ok':true,'event':'1'},{'rule':'two','ok':true}]}" },
        { "book 1 bob A1 --dry-run", "!DENIED not bob {'dry_run':true,'rules':[{'rule':'one','ok':"
                                     "false,'message':'not bob'},{'rule':'two','ok':true}]}" },
        { "book 1 bob A1 --dry-run",
          "!DENIED not bob; rule one of policy 1; dry run: one no, two ok" },
        { "book 1 bob A1", "!DENIED not bob; rule one of policy 1 {'rule':'one','policy':1}" },
        { "book 1 ann A1..A3 --dry-run", "{'rules':[{'ok':true},{'ok':true}]}" },
        { "seats 1", "{'taken':{}}" },
        { "t 1 --dry-run", "{'answer':[1,2],'dry_run':true,'rules':[]}" });
}

/* What rules say of candidates, which nobody asked for, is not shown: only what they say of the
 * seats that are proposed. */
static void test_dry_run_best(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { DO("rules = { rule { name = 'far', check = function(tx, ask) "
             "return ask.seats[1].seat.position > 3, 'too near' end } },",
             "tx:judge { verb = 'take', customer = 'ann', seats = { 'A1' }, event = tx:event '1' } "
             "return {}"),
          "" },
        { "best 1 ann 1 --dry-run",
          "{'seats':['*'],'dry_run':true,'rules':[{'rule':'far','ok':true,'event':'1'}]}" },
        { "t 1 --dry-run", "{'dry_run':true,'rules':[]}" });
}

/* Who waits has no seats yet: the rules on "wait" are asked with a count, and nothing else is. */
static void test_judge_wait(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("rules = { rule { name = 'few', on = { 'wait' }, check = function(tx, ask) "
              "return ask.size < 3, 'too many' end }, function() return nil, 'no seat' end },",
              "local function may(t) t.verb, t.customer = t.verb or 'wait', 'ann' "
              "local ok, yes, why = pcall(tx.judge, tx, t) "
              "return ok and (yes or why.message) or tostring(yes) end "
              "local e = tx:event '1' return { may { event = e, count = 2 }, "
              "may { event = e, count = 3 }, (may { event = e }):match 'needs.*', "
              "(may { count = 2 }):match 'needs.*', "
              "(may { event = e, count = 1, seats = { 'A1' } }):match 'takes.*', "
              "(may { event = e, count = 1, seats = { 'A1' }, verb = 'take' }):match 'the seats "
              "say.*' }"),
           "" },
         { "t 1", "[true,'too many','needs the event and a count of 1 or more',"
                  "'needs the event and a count of 1 or more','takes no seats, leaves or order',"
                  "'the seats say how many they are']" });
}

/* The policy's own data: any JSON value, sorted keys, sizes bounded. */
static void test_values(void **state)
{
    (void)state;
    PLAY(HOUSE,
         { DO("",
              "tx:set('b', { x = 1, list = json.list {} }) tx:set('a', 'text') tx:set('c', false) "
              "tx:set('n', nil) local v = tx:get('b') local k = tx:keys('') local ok, e = "
              "pcall(tx.set, tx, 'big', ('x'):rep(70000)) tx:set('a', nil) return { x = v.x, n = "
              "#v.list, k = table.concat(k, ' '), none = tx:get('zz') == nil, code = e.code, c = "
              "tx:get('c'), left = table.concat(tx:keys('', nil, 1), ' ') }"),
           "" },
         { "t 1", "{'x':1,'n':0,'k':'a b c','none':true,'code':'TOOBIG','c':false,'left':'b'}" },
         { DO("", "tx:set('f', function() end)"), "" }, { "t 1", "!INTERNAL function" },
         { DO("", "tx:set('', 1)"), "" }, { "t 1", "!BADARG a key has" });
}

/* tx:count is the customer's use; tx:orders filters; lists are lists. */
static void test_queries(void **state)
{
    (void)state;
    PLAY(HOUSE, { "book 1 ann A1 A2", "{}" }, { "hold 1 ann B1", "{}" }, { "book 1 bob B2", "{}" },
         { DO("",
              "local h, b = tx:count(req.event, 'ann') local gh, gb = tx:count(req.event, 'ann', "
              "'gold') local zh, zb = tx:count('1', 'ann', 'zinc') return { h = h, b = b, gh = gh, "
              "gb = gb, z = zh + zb, mine = #tx:orders { customer = 'ann' }, booked = "
              "#tx:orders { event = req.event, status = 'booked' }, live = #tx:orders { status = "
              "'live' }, two = #tx:orders { limit = 2 }, none = #tx:orders { customer = 'eve' }, "
              "events = #tx:events() }"),
           "" },
         { "t 1", "{'h':1,'b':2,'gh':0,'gb':2,'z':0,'mine':2,'booked':2,'live':3,'two':2,'none':0,"
                  "'events':1}" },
         { DO("", "return tx:orders { status = 'live' }"), "" },
         { "t 1", "[{'customer':'ann'},{'customer':'ann'},{'customer':'bob'}]" },
         { DO("", "tx:orders { status = 'odd' }"), "" }, { "t 1", "!BADARG odd" });
}

/* A swap that a hook denies leaves the seats where they were, also when the script catches it. */
static void test_swap_is_atomic(void **state)
{
    (void)state;
    PLAY(HOUSE, { "o = hold 1 ann A1", "{}" }, { "p = hold 1 bob B1", "{}" },
         { DO("hooks = { reseat = function(tx, o) tx:set('ran', 1) if o.customer == 'bob' then "
              "deny 'no' end end },",
              "local o, p = tx:orders { customer = 'ann' }[1], tx:orders { customer = 'bob' }[1] "
              "local ok = pcall(tx.swap, tx, o, { 'A1' }, p, { 'B1' }) return { ok = ok, a = "
              "o.seats[1].label, b = p.seats[1].label, ran = tx:get('ran') == nil }"),
           "" },
         { "t 1", "{'ok':false,'a':'A1','b':'B1','ran':true}" });
}

/* What comes with a place reaches the rules and the price function, in a take and in a move. */
static void test_data_of_places(void **state)
{
    (void)state;
    PLAY(
        HOUSE,
        { "policy return policy { rules = { function(tx, ask) local d = ask.gains[1].data if d and "
          "d.legs == 0 then deny(('no room for legs at %s %s %s'):format(ask.verb, "
          "ask.gains[1].label, ask.gains[1].type)) end return true end }, price = function(tx, "
          "ask, place) "
          "return place.data and place.data.price or 1 end }",
          "" },
        { "o = hold 1 ann {'seat':'A1','data':{'price':7}} A2", "{'price':8}" },
        { "hold 1 bob {'seat':'A3','data':{'legs':0}}", "!DENIED legs at take A3 nil" },
        { "hold 1 bob {'seat':'A3','type':'kid','data':{'legs':0}}",
          "!DENIED legs at take A3 kid" },
        { "move $o A2 {'seat':'A4','data':{'legs':0}}", "!DENIED legs at reseat A4" },
        { "move $o A2 {'seat':'A4','data':{'price':5}}", "{'price':6}" },
        { DO("rules = { function(tx, ask) return ask.seats[1].data[2] == 'x' end },",
             "return tx:take { customer = 'c', event = req.event, seats = { { seat = 'B1', data = "
             "{ 1, 'x' } } } }"),
          "" },
        { "t 1", "{'status':'booked'}" });
}

/* Of an area a move gains what the order had not, and gives up what it no longer has. */
static void test_gains_of_areas(void **state)
{
    (void)state;
    static const char rule[] =
        "policy local function text(places) local o = {} for i, p in ipairs(places) do o[i] = "
        "p.label .. '*' .. p.count .. (p.type or '') end return table.concat(o, ' ') end return "
        "policy { rules = { rule { on = { 'reseat' }, check = function(tx, ask) deny('gains ' .. "
        "text(ask.gains) .. ', leaves ' .. text(ask.leaves) .. '.') end } } }";
    PLAY(HOUSE, { "o = hold 1 ann A1 FLOOR*2", "{}" },
         { "p = hold 1 bob FLOOR*2 FLOOR*1=child", "{}" }, { rule, "" },
         { "move $o A1 FLOOR*1", "!DENIED gains FLOOR*1, leaves A1*1." },
         { "move $o FLOOR*1 B1", "!DENIED gains B1*1, leaves FLOOR*1." },
         { "move $o A1 A2", "!DENIED gains A2*1, leaves A1*1." },
         { "move $p FLOOR*1=child A2=child", "!DENIED gains A2*1child, leaves FLOOR*1child." },
         { "move $p FLOOR*1 FLOOR*1=child", "!DENIED gains , leaves ." },
         { "move $p FLOOR*1=child FLOOR*1", "!DENIED gains , leaves ." }); /* nothing changes */
}

/* A swap is judged when it is done: what an order gave is the other's then, and nobody finds it
 * free. */
static void test_leaves_of_swap(void **state)
{
    (void)state;
    static const char rule[] =
        "policy return policy { rules = { rule { on = { 'reseat' }, check = function(tx, ask) "
        "local "
        "one = ask.leaves[1] deny(('%s for %s, %s, %s'):format(one.label, ask.gains[1].label, "
        "ask:status(one), tostring(tx:single(ask)))) end } } }";
    PLAY(HOUSE, { "o = book 1 ann A1", "{}" }, { "p = book 1 bob B1 B2 B3", "{}" },
         { "book 1 cid A2", "{}" }, { rule, "" },
         { "swap $o A1 $p B2", "!DENIED A1 for B2, booked, nil" });
}

/* A remembered refusal, an answer with two orders, and one whose order is gone. */
static void test_again(void **state)
{
    (void)state;
    struct play p;
    struct policy_answer a = { 0 };
    struct call call = { 0 };
    struct error e = { 0 };
    struct span words[] = { span_of("book"), span_of("1"), span_of("ann"), span_of("A1") };
    play_open(&p);
    play(&p, "add-event 1 [{'row':'A','seats':4}]", "{}");
    assert_int_equal(call_parse(p.registry, 4, words, &call, &e), 0);
    struct result r = { .code = ERR_TAKEN, .index = 7 };
    policy_answer_again(p.policy, p.store, &call, &r, 9, &a);
    assert_int_equal(a.code, ERR_TAKEN);
    r = (struct result){ .order = span_of("GONE"), .index = 7 };
    policy_answer_again(p.policy, p.store, &call, &r, 9, &a);
    assert_int_equal(a.code, 0);
    play_match(&p, "again", span_of("{\"order\":\"GONE\",\"index\":7}"),
               span_make((char *)a.json.data, a.json.len));
    call_free(&call);
    policy_answer_free(&a);
    play(&p, "x = book 1 ann A1 A2", "{}");
    play(&p, "again", "{'order':'$x','status':'booked'}");
    play(&p, "s = split $x A2", "{'orders':['*','*']}");
    play(&p, "again", "{'orders':[{'order':'$x'},{'order':'$s2'}]}");
    play_close(&p);
}

/* Order ids are 13 digits of Crockford's base 32, all different. */
static void test_order_ids(void **state)
{
    (void)state;
    struct random r;
    char id[500][ORDER_ID_BYTES];
    const uint64_t seed[2] = { 5, 6 };
    random_init(&r, seed);
    unsigned seen[256] = { 0 };
    for (int i = 0; i < 500; i++) {
        random_order_id(&r, id[i]);
        for (int k = 0; k < ORDER_ID_BYTES; k++) {
            assert_non_null(memchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ", id[i][k], 32));
            seen[(unsigned char)id[i][k]]++;
        }
        for (int k = 0; k < i; k++) {
            assert_int_not_equal(memcmp(id[i], id[k], ORDER_ID_BYTES), 0);
        }
    }
    for (const char *c = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; *c != 0; c++) {
        assert_in_range(seen[(unsigned char)*c], 130, 280); /* 203 expected */
    }
}

/* Whichever allocation fails, the call ends with a code and the store is sound. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct play p;
    struct call call = { 0 };
    struct error e = { 0 };
    struct policy_answer a = { 0 };
    struct span words[] = { span_of("hold"), span_of("1"), span_of("ann"), span_of("A1"),
                            span_of("FLOOR*2") };
    play_open(&p);
    play(&p,
         "add-event 1 {'rows':[{'name':'A','seats':4}],'areas':[{'name':'FLOOR','capacity':9}]}",
         "{}");
    assert_int_equal(call_parse(p.registry, 5, words, &call, &e), 0);
    unsigned failed = 0, granted = 0;
    for (uint64_t at = 1; at < 60 && granted < 3; at++) {
        uint64_t digest = store_digest(p.store);
        play_begin(&p);
        store_tx_begin(p.store);
        mem_test_fail_at(at);
        policy_evaluate(p.policy, p.store, &call, NULL, p.now_ms, p.index, &a);
        mem_test_fail_at(0);
        failed += a.code != 0;
        granted += a.code == 0;
        assert_true(a.code == 0 || store_digest(p.store) == digest);
        assert_true(a.code == 0 || error_http(a.code) == 500);
        store_tx_end(p.store);
        store_group_cancel(p.store);
        assert_true(store_digest(p.store) == digest);
        assert_int_equal(store_check(p.store, &e), 0);
    }
    assert_true(failed > 0 && granted > 0);
    policy_answer_free(&a);
    call_free(&call);
    play_close(&p);
}

/* Making and loading fail cleanly too: no block is left, and the old policy stays. */
static void test_out_of_memory_loading(void **state)
{
    (void)state;
    int64_t before = mem_test_live();
    unsigned failed = 0;
    struct error e = { 0 };
    struct policy_options o = { .seed = { 1, 2 } };
    for (uint64_t at = 1; at < 400; at += at < 40 ? 1 : 13) {
        struct registry *r = registry_new();
        struct policy *p = NULL;
        mem_test_fail_at(at);
        int rc = policy_new(&o, r, &p, &e);
        mem_test_fail_at(0);
        failed += rc != 0;
        if (rc == 0) {
            policy_free(p);
        }
        registry_free(r);
        assert_int_equal(mem_test_live(), before);
    }
    assert_true(failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_index_of_answer),
        cmocka_unit_test(test_order_fields),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_dead_objects),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_undo),
        cmocka_unit_test(test_caught),
        cmocka_unit_test(test_read_only_rules),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_reseat_ask),
        cmocka_unit_test(test_two_events),
        cmocka_unit_test(test_unjudged),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_attempt),
        cmocka_unit_test(test_hold_limits),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_dry_run_best),
        cmocka_unit_test(test_judge_wait),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_swap_is_atomic),
        cmocka_unit_test(test_data_of_places),
        cmocka_unit_test(test_gains_of_areas),
        cmocka_unit_test(test_leaves_of_swap),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_order_ids),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_out_of_memory_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
