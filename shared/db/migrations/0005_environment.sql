-- What the mesh is for, said once by whoever installed it: no setting of a process changes it afterwards. A mesh that
-- is there already takes the careful one.
ALTER TABLE pm.mesh ADD COLUMN environment text NOT NULL DEFAULT 'production'
    CHECK (environment IN ('production', 'development', 'test'));
