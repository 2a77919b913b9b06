--- What may stand in the place of an argument: of a policy's command only the policy knows.
local shared = require "usher.shared"

local function complete(tx, req)
    local words, own = json.list {}, tx:completion(req.name, req.argument)
    for _, word in ipairs(own and own(tx, req.prefix) or {}) do
        word = tostring(word)
        if word:sub(1, #req.prefix) == req.prefix and #words < shared.LIST_MAX then words[#words + 1] = word end
    end
    return words
end

return command {
    name = "complete-argument", group = "session", kind = "transaction", access = "public", read = "local",
    summary = "What the `complete` of an argument of a policy's command gives, as Tab asks it",
    example = "complete-argument upgrade category st",
    args = { { "name", "string", meta = "COMMAND", help = "a command that the caller may run" },
        { "argument", "string", help = "the name of one of its arguments or options" },
        { "prefix", "string", default = "", help = "what the words begin with" } },
    run = complete,
}
