// The same registry through Amazon's own SDK (dotnet add package AWSSDK.Rekognition): a person is a user of the
// collection "persons". What FacerecClient enrols is found here, and the other way round.

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using Amazon.Rekognition;
using Amazon.Rekognition.Model;
using Amazon.Runtime;

public static class RekognitionExample
{
    private const string Collection = "persons";

    public static AmazonRekognitionClient Connect(string address, string accessKeyId, string secret)
    {
        // The one line that differs from Amazon's service is ServiceURL.
        var configuration = new AmazonRekognitionConfig
        {
            ServiceURL = address,
            AuthenticationRegion = "us-east-1",
            Timeout = TimeSpan.FromSeconds(30),
            MaxErrorRetry = 4,
        };
        return new AmazonRekognitionClient(new BasicAWSCredentials(accessKeyId, secret), configuration);
    }

    public static async Task EnrolAsync(IAmazonRekognition client, string userId, IEnumerable<string> pictures)
    {
        await client.CreateUserAsync(new CreateUserRequest { CollectionId = Collection, UserId = userId });
        var faceIds = new List<string>();
        foreach (string picture in pictures)
        {
            IndexFacesResponse indexed = await client.IndexFacesAsync(new IndexFacesRequest
            {
                CollectionId = Collection,
                Image = Load(picture),
                ExternalImageId = userId,
                MaxFaces = 1,
                QualityFilter = QualityFilter.HIGH,
            });
            faceIds.AddRange(indexed.FaceRecords.Select(record => record.Face.FaceId));
        }
        await client.AssociateFacesAsync(new AssociateFacesRequest
        {
            CollectionId = Collection,
            UserId = userId,
            FaceIds = faceIds,
        });
    }

    /// <summary>The id of the person in a picture, null for nobody.</summary>
    public static async Task<string> VerifyAsync(IAmazonRekognition client, string picture)
    {
        SearchUsersByImageResponse found = await client.SearchUsersByImageAsync(new SearchUsersByImageRequest
        {
            CollectionId = Collection,
            Image = Load(picture),
            MaxUsers = 1,
            UserMatchThreshold = 99,
        });
        return found.UserMatches.Select(match => match.User.UserId).FirstOrDefault();
    }

    private static Image Load(string path)
    {
        return new Image { Bytes = new MemoryStream(File.ReadAllBytes(path)) };
    }
}
