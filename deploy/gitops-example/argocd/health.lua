-- Health of Lanyard's objects: the same for IdentityAssignment, UserAssignedIdentity and IdentityTarget.
local health = {status = "Progressing", message = "waits for the controller to look at it"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
if ready == nil then
  return health
end
health.message = ready.reason .. ": " .. (ready.message or "")
if obj.metadata.deletionTimestamp ~= nil then
  return health
end
-- What is said is about an older spec. An IdentityTarget has no spec, and observes no generation.
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  health.message = "waits for the controller to look at what changed"
  return health
end
if conditions["Stalled"] ~= nil and conditions["Stalled"].status == "True" then
  health.status = "Degraded"
elseif conditions["Suspended"] ~= nil and conditions["Suspended"].status == "True" then
  health.status = "Suspended"
elseif ready.status == "True" then
  health.status = "Healthy"
elseif ready.reason == "ChangesPending" then
  -- It only observes, and is not meant to get there.
  health.status = "Suspended"
end
return health
