-- The test house itself: what it finds, and that slips in a test do not pass in silence.
local test = require "usher.test"

describe("a test house", function()
    it("finds the newest order of a customer, whoever made it", function()
        local h = test.house { rows = { "A: ...x" } }
        h:grants "book 1 cid A1"
        h:grants "wait 1 cid 3"
        h:grants "cancel-seat 1 A4" -- A2 to A4 go to who waits
        local order = h:order "cid"
        assert.equal("held", order.status)
        assert.equal(3, #order.seats)
        assert.is_nil(h:order "nobody")
    end)

    it("refuses a script with a word that is no command", function()
        local h = test.house { rows = { "A: ..." } }
        assert.error_matches(function() h:play "o = bok 1 ann A1" end, "o = bok 1 ann A1: unknown command 'bok'")
        assert.error_matches(function() h:play "nonsense here" end, "nonsense here: unknown command")
    end)

    it("says why the order that a line names is not there", function()
        local h = test.house { rows = { "A: x.." } }
        h:play "o = book 1 ann A1"
        local answer, refusal = h:run "cancel $o"
        assert.is_nil(answer)
        assert.matches("^o = book 1 ann A1 was refused: TAKEN seat A1", refusal.hint)
    end)

    it("fails a property whose customers do what is no command", function()
        local ok, why = pcall(test.property, { policy = "return policy {}", rows = { "A: ...." }, steps = 20,
            actions = { function() return "dance 1" end }, holds = function() return true end })
        assert.is_false(ok)
        assert.matches("unknown command 'dance'", tostring(why))
        ok, why = pcall(test.property, { policy = "return policy {}", rows = { "A: ...." }, steps = 20,
            actions = { dance = function() return "dance 1" end }, holds = function() return true end })
        assert.is_false(ok)
        assert.matches("actions is a list of functions; 'dance' has a name", tostring(why))
    end)

    it("refuses a user with what is no part of one, who would else be somebody else in silence", function()
        local h = test.house { rows = { "A: ..." } }
        local function fails(text, f)
            local ok, why = pcall(f)
            assert.is_false(ok)
            assert.matches(text, tostring(why), 1, true)
        end
        fails("a user has no 'role': it is { access =, roles = { ... }, name = }", function()
            h:as { role = { "box" } }
        end)
        fails("a user has no 'acces'", function() h:grants("book 1 ann A1", { user = { acces = "client" } }) end)
        fails("a user has no 'acces'", function() h:says("book 1 ann A1", { user = { acces = "client" } }) end)
        fails("a user has no 'rolls'", function() test.house { rows = { "A: ." }, user = { rolls = {} } } end)
        fails("a user's roles are a list of names", function() h:as { roles = "box" } end)
        fails("a user's roles are a list of names", function() h:as { roles = { box = true } } end)
        fails("there is no access level 'clint'", function() h:as { access = "clint" } end)
        fails("a user is { access =", function() h:as "box" end)
        h:as({ access = "client", roles = { "box" }, name = "ann" }):grants "book 1 ann A1"
    end)

    it("refuses a property whose roles, types and codes are no lists", function()
        for _, key in ipairs { "roles", "types", "codes" } do
            local ok, why = pcall(test.property, { rows = { "A: ...." }, steps = 20, [key] = "box",
                holds = function() return true end })
            assert.is_false(ok)
            assert.matches("test.property: " .. key .. " is a string, not a list", tostring(why), 1, true)
        end
        local ok, why = pcall(test.property, { rows = { "A: ...." }, steps = "many",
            holds = function() return true end })
        assert.is_false(ok)
        assert.matches("test.property: steps is a string, not a number", tostring(why), 1, true)
        ok, why = pcall(test.property, { rows = { "A: ...." }, steps = 200, actions = { function() return 5 end },
            holds = function() return true end })
        assert.is_false(ok)
        assert.matches("test.property: an action returned a number, not a command line", tostring(why), 1, true)
    end)
end)
