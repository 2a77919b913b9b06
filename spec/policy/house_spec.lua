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
end)
